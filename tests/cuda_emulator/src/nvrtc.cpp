// NVRTC that makes host code of CUDA source, with g++. The compiled kernels are kept as libraries in the emulator's folder
// `cache`, each named by a hash; the "cubin" that CuPy gets names one of them.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "emulator.h"

// `build` gives COMPILER and FLAGS, with which it also precompiled kernel.h, and BUILD, which names this emulator.
enum Result { SUCCESS = 0, COMPILATION = 6 };
enum Mode { LOOPS_BY_ITSELF, WITHOUT_BARRIERS, WITH_BARRIERS };  // as in kernels.cpp

struct Program {
    std::string source, log, image;
    std::vector<std::string> expressions;         // such as my_kernel<float>
    std::map<std::string, std::string> exported;  // by expression
};

static bool off_by_an_ulp() {
    const char* value = getenv("FAKE_CUDA_ULP");
    return value && atoi(value);
}
static std::string home() {  // three folders up: HOME/cuda/lib64/libnvrtc.so.13
    Dl_info info;
    dladdr((void*)home, &info);
    char* path = realpath(info.dli_fname, nullptr);
    std::string found = path;
    free(path);
    for (int i = 0; i < 3; i++) found.erase(found.rfind('/'));
    return found;
}
static std::string cache() {
    return home() + "/cache";
}
static std::string hash(const std::string& text) {
    auto fnv = [&](uint64_t h) {
        for (unsigned char c : text) h = (h ^ c) * 1099511628211ull;
        return h;
    };
    char digits[33];
    snprintf(digits, sizeof digits, "%016llx%016llx", (unsigned long long)fnv(14695981039346656037ull),
             (unsigned long long)fnv(1099511628211ull));
    return digits;
}
static std::string read_file(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}
static bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// ------------------------------------------------------------------ CuPy's own reduction
// Its threads become loops between its barriers, which is faster than fibers and adds each sum up in the same order.
static void replace(std::string& source, const std::string& from, const std::string& to) {
    size_t at = source.find(from);
    if (at == std::string::npos) throw std::runtime_error("fakenvrtc: this reduction is not as in CuPy 14.2: " + from);
    source.replace(at, from.size(), to);
}
static std::string serial_reduction(std::string source) {
    std::smatch size;
    std::regex_search(source, size, std::regex("_sdata_raw\\[(\\d+) \\* sizeof"));
    size_t begin = source.find("IndexT _J_offset = _tid"), end = source.find("IndexT _J_stride");
    if (size.empty() || begin >= end || end == std::string::npos)
        throw std::runtime_error("fakenvrtc: this reduction is not as in CuPy 14.2");
    std::string of_a_thread = source.substr(begin, end - begin);
    source.erase(begin, end - begin);
    replace(source, "unsigned int _tid = threadIdx.x;", "");
    replace(source, "_i_base += (ptrdiff_t)gridDim.x * _block_stride) {",
            "_i_base += (ptrdiff_t)gridDim.x * _block_stride) {\n"
            "  for (unsigned int _tid = 0; _tid < " + size[1].str() + "; ++_tid) {\n" + of_a_thread);
    replace(source, "_sdata[_tid] = _s;\n    __syncthreads();", "_sdata[_tid] = _s; }");
    replace(source, "if (_tid < _block) {\n        _REDUCE(_block);\n      }\n      __syncthreads();",
            "for (unsigned int _tid = 0; _tid < _block; ++_tid) { _REDUCE(_block); }");
    replace(source,
            "if (_tid < _block_stride) {\n      _s = _sdata[_tid];\n    }\n"
            "    if (_tid < _block_stride && _i < _out_ind.size()) {",
            "for (unsigned int _tid = 0; _tid < (unsigned int)_block_stride; ++_tid) {\n"
            "    _type_reduce _s = _sdata[_tid];\n    ptrdiff_t _i = _i_base + _tid;\n    if (_i < _out_ind.size()) {");
    source.insert(source.rfind('}'), "}");
    return source;
}

// ------------------------------------------------------------------ a program
API const char* nvrtcGetErrorString(int error) {
    return error == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}
API int nvrtcVersion(int* major, int* minor) { *major = 13, *minor = 0; return SUCCESS; }
API int nvrtcGetNumSupportedArchs(int* count) { *count = 1; return SUCCESS; }
API int nvrtcGetSupportedArchs(int* archs) { *archs = 90; return SUCCESS; }
API int nvrtcCreateProgram(Program** p, const char* source, const char*, int, const char**, const char**) {
    *p = new Program{source};
    return SUCCESS;
}
API int nvrtcDestroyProgram(Program** p) { delete *p; return SUCCESS; }
API int nvrtcAddNameExpression(Program* p, const char* expression) {
    p->expressions.push_back(expression);
    return SUCCESS;
}
API int nvrtcGetLoweredName(Program* p, const char* expression, const char** name) {
    *name = p->exported[expression].c_str();
    return SUCCESS;
}
API int nvrtcGetProgramLogSize(Program* p, size_t* size) { *size = p->log.size() + 1; return SUCCESS; }
API int nvrtcGetProgramLog(Program* p, char* text) { strcpy(text, p->log.c_str()); return SUCCESS; }

// The lines that export each kernel; see FK_KERNEL in device.h.
static std::string exports(Program* p, const std::string& source) {
    static const std::regex kernel(
        "extern\\s+\"C\"\\s+__global__\\s+void\\s+(?:__launch_bounds__\\s*\\([^)]*\\)\\s*)?(\\w+)\\s*\\(");
    std::string lines;
    for (std::sregex_iterator it(source.begin(), source.end(), kernel), end; it != end; ++it)
        lines += "FK_KERNEL(" + (*it)[1].str() + ")\n";
    for (auto& expression : p->expressions) {
        std::string name = "expression_" + std::to_string(p->exported.size());
        p->exported[expression] = name;
        lines += "FK_KERNEL_AS(" + name + ", " + expression + ")\n";
    }
    return lines;
}
static int compile(Program* p, const std::string& code, const std::string& defines, const std::string& library) {
    static std::atomic<int> count{0};  // other processes and threads may compile the same
    std::string mine = library + "." + std::to_string(getpid()) + "." + std::to_string(count++);
    std::string cpp = mine + ".cpp", log = mine + ".log", top = home();
    std::ofstream(cpp) << code;
    std::string header = top + "/include/" + (off_by_an_ulp() ? "kernel_ulp.h" : "kernel.h");
    std::string command = COMPILER " " FLAGS " -w -shared" + defines;
    command += " -I" + top + "/include -I" + top + "/cuda/include -include " + header + " " + cpp + " -o " + mine;
    command += " -L" + top + "/cuda/lib64 -l:libcuda.so.1 2> " + log;
    fk_event(COMPILE, code.size(), "g++");
    int status = system(command.c_str());
    p->log = read_file(log).substr(0, 1500);
    unlink(log.c_str());
    if (status) {
        fprintf(stderr, "fakenvrtc: g++ failed on %s\n%s\n", cpp.c_str(), p->log.substr(0, 700).c_str());
        return COMPILATION;
    }
    rename(cpp.c_str(), (library + ".cpp").c_str());  // to be read by whoever looks for an error
    rename(mine.c_str(), library.c_str());
    return SUCCESS;
}
API int nvrtcCompileProgram(Program* p, int count, const char** options) {
    std::string key = BUILD + std::string(off_by_an_ulp() ? " ulp\n" : "\n"), defines;
    if (p->source.empty()) {  // by which CuPy finds out whether what it keeps on disk is of this compiler
        p->image = "// fakenvrtc " + key;
        return SUCCESS;
    }
    bool flush = false;
    for (int i = 0; i < count; i++) {
        std::string option = options[i];
        key += option + "\n";
        if (option == "-ftz=true") flush = true;
        if (option.rfind("-D", 0) == 0) defines += " '" + option + "'";
    }
    key += p->source;
    for (auto& expression : p->expressions) key += "\n" + expression;
    mkdir(cache().c_str(), 0777);
    std::string library = cache() + "/" + hash(key) + ".so", source = p->source;
    Mode mode = WITHOUT_BARRIERS;
    if (has(source, "_REDUCE(_block)")) {
        try {
            source = serial_reduction(source);
        } catch (const std::runtime_error& error) {
            p->log = error.what();
            return COMPILATION;
        }
        mode = LOOPS_BY_ITSELF;
    } else if (has(source, "__syncthreads") || has(source, "__shfl") || has(source, "__syncwarp")) {
        mode = WITH_BARRIERS;
    } else if (has(source, "CUPY_FOR(")) {
        mode = LOOPS_BY_ITSELF;
    }
    // The processor flushes float32 and float64 alike, CUDA float32 alone: a kernel that has both keeps its denormals.
    flush = flush && !std::regex_search(source, std::regex("\\bdouble\\b"));
    // The launch gives the size of this memory; a block has no more than 48 KiB.
    source = std::regex_replace(source, std::regex("extern __shared__ (\\w+) (\\w+)\\[\\]"),
                                "__shared__ $1 $2[49152 / sizeof($1)]");
    std::string code = source + "\n" + exports(p, source) + "extern \"C\" { FK_EXPORT int fk_mode = " +
                       std::to_string(mode) + ", fk_flush_denormals = " + std::to_string(flush) + "; }\n";
    p->image = "FAKECUDA " + library + "\n";
    return access(library.c_str(), F_OK) == 0 ? SUCCESS : compile(p, code, defines, library);
}

static int size_of_image(Program* p, size_t* size) { *size = p->image.size() + 1; return SUCCESS; }
static int get_image(Program* p, char* image) { strcpy(image, p->image.c_str()); return SUCCESS; }
API int nvrtcGetPTXSize(Program* p, size_t* size) { return size_of_image(p, size); }
API int nvrtcGetPTX(Program* p, char* image) { return get_image(p, image); }
API int nvrtcGetCUBINSize(Program* p, size_t* size) { return size_of_image(p, size); }
API int nvrtcGetCUBIN(Program* p, char* image) { return get_image(p, image); }
API int nvrtcGetLTOIRSize(Program* p, size_t* size) { return size_of_image(p, size); }
API int nvrtcGetLTOIR(Program* p, char* image) { return get_image(p, image); }
