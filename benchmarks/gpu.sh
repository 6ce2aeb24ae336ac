#!/bin/sh
# Everything that needs a GPU to be measured, in one command of under eight minutes: bench_gpu.py says
# what. It takes the checkout's .venv, or else a python3 that has torch, with the wheels in
# build/wheels (`make gpu-wheels`) unpacked beside it. Options go to bench_gpu.py.
#     bash benchmarks/gpu.sh --out "$OUT/gpu.md"     on a lent machine, from which only $OUT comes back
#     bash benchmarks/gpu.sh --device cpu --small    a trial of the script
began=$(date +%s)
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-}
if [ -z "$python" ]; then
    python=python3
    if .venv/bin/python -c 'import torch' 2>/dev/null; then python=.venv/bin/python; fi
fi
"$python" -c 'import torch' || { echo "gpu.sh: $python has no torch; PYTHON=… names another."; exit 2; }
site=$(mktemp -d) || exit 2
trap 'rm -rf "$site"' EXIT
if [ "$python" != .venv/bin/python ]; then
    wheels=${WHEELS:-build/wheels}
    for wheel in "$wheels"/*.whl; do
        [ -f "$wheel" ] || { echo "gpu.sh: no wheels in $wheels; what $python lacks is said below."; break; }
        # A wheel is a zip of what belongs on the path. One that does not unpack spoils no other.
        "$python" -m zipfile -e "$wheel" "$site" || echo "gpu.sh: $wheel cannot be unpacked; left out."
    done
fi
PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 \
    "$python" benchmarks/bench_gpu.py --began "$began" "$@"
