#!/usr/bin/env bash
# All that wants a GPU, from the project's root, on a machine without a network: the gpu tests, the benches of kernels and
# of the whole daemon. Each part is bounded, all take at most 8 minutes, and each result is written under $OUT at once.
#
#   python3 -m pip download ... -d .gpu/wheels    beforehand, where there is a network: what that machine lacks
#   unzip -d .gpu/site WHEEL                      what is too large to carry, without the files that nobody needs: of
#                                                 hdf5plugin (46 MB) the plugin libh5bshuf.so is enough
#   OUT=DIR benchmarks/on_a_gpu.sh                on the machine
#   benchmarks/on_a_gpu.sh --rehearse             here, without limits: the same steps on the CUDA kernels built by g++
set -ux
export PYTHONPATH=.:.gpu/site OUT=${OUT:-build/gpu-results}
PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
rehearsal=0
if [ "${1:-}" = --rehearse ]; then
    rehearsal=1
    mark="not gpu" gpu="tests.benchmarks.gpu_on_the_shim" backend=numba
    large="--size 64 --frames 8 --small 16 --planes 32 --repeat 1" small="--size 32 --frames 8 --planes 64 --repeat 1"
    daemon="--size 64 --seconds 0.2"
else
    mark=gpu gpu=benchmarks.gpu backend=cupy
    large="--size 2048 --frames 512" small="--size 1024 --planes 2048 --frames 512" daemon="--size 512 --seconds 4"
    CUPY_CACHE_DIR=$(mktemp -d) && export CUPY_CACHE_DIR
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$OUT/gpu.txt"
    $PYTHON -m pip install -q --no-deps --no-index --find-links .gpu/wheels .gpu/wheels/*.whl 2>&1 | tail -n 3
    # Compiles all units. Without it nothing of the rest means anything.
    timeout 60 $PYTHON -c "from streamer.core.backend.selection import select_backend as s; print(s('cupy', 4))" \
        2>&1 | tee -a "$OUT/gpu.txt"
    [ "${PIPESTATUS[0]}" -eq 0 ] || exit 1
    $PYTHON -m streamer.cli.warming >"$OUT/warming.txt" 2>&1 & # while the gpu tests run
fi

step() { # seconds, name, command …: its output goes into a file, and its end is shown
    local limit=$((rehearsal ? 900 : $1)) name=$2
    shift 2
    timeout "$limit" "$@" >"$OUT/$name.txt" 2>&1 || failed="${failed:-} $name"
    tail -n 15 "$OUT/$name.txt"
}

tests=$(git ls-files 'tests/core/**test_*cu*.py' 'tests/core/**test_*gpu*.py')
step 120 tests $PYTHON -m pytest -m "$mark" -q -p no:cacheprovider -p no:xdist --junitxml="$OUT/tests.xml" $tests
step 90 kernels-large $PYTHON -m $gpu $large
((rehearsal)) || cp benchmarks/results/gpu.json "$OUT/gpu-large.json"
step 60 kernels-small $PYTHON -m $gpu $small
((rehearsal)) || mv benchmarks/results/gpu.json "$OUT/gpu-small.json"
wait # for the kernels of the CPU
step 45 scans $PYTHON -m pytest -m "$mark" -q -p no:cacheprovider -p no:xdist --junitxml="$OUT/scans.xml" \
    $(git ls-files 'tests/pipeline/test_*gpu*.py')
step 60 daemon $PYTHON -m streamer bench end-to-end $daemon --backend $backend --json "$OUT/gpu-daemon.json"
((rehearsal)) || step 60 daemon-numba $PYTHON -m streamer bench end-to-end $daemon --backend numba --json "$OUT/cpu-daemon.json"
ls -l "$OUT"
[ -z "${failed:-}" ] || { echo "failed:$failed" && exit 1; }
