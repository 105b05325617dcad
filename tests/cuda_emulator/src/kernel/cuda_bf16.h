// What CuPy's kernels use of CUDA's header of this name: bfloat16, the upper half of a float32, rounded to the nearest
// even.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
    unsigned short bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value) {
        uint32_t whole;
        memcpy(&whole, &value, sizeof whole);
        bits = std::isnan(value) ? 0x7fff : (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
    }
    operator float() const {
        uint32_t whole = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &whole, sizeof value);
        return value;
    }
};
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 v;
    v.bits = bits;
    return v;
}
static inline bool __hisnan(__nv_bfloat16 v) { return std::isnan((float)v); }
static inline int __hisinf(__nv_bfloat16 v) { return v.bits == 0x7f80 ? 1 : v.bits == 0xff80 ? -1 : 0; }
