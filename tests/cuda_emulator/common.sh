# What build, env and run share; each of them sources it.
CUPY=14.2.0
CUPY_WHEEL=cupy-cuda13x
CUPY_CUDA_VERSION=13020 # what that wheel was built with
ML_DTYPES=0.6.0
CYTHON=3.2.4
SETUPTOOLS=84.2.1
CUDA_RUNTIME=13.0.96 # only the headers of these two are used
CUDA_CRT=13.0.88

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# A name for this version of the emulator, made from its sources.
source_id() {
    cd "$source_dir"
    find build common.sh src site -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum |
        sha256sum | cut -c1-16
}
dir=${XDG_CACHE_HOME:-$HOME/.cache}/cuda-emulator/$(source_id)
