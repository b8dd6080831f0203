#!/usr/bin/env bash
# Builds the sdist, the wheel from the sdist, and tries the wheel in an environment of its own,
# outside of the checkout: what a user gets by `pip install`.
#
#   PYTHON=python3.12 CONSTRAINTS=constraints.txt tools/check_wheel.sh
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
constraints="$root/${CONSTRAINTS:-constraints.txt}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

"$python" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet build
"$work/build/bin/python" -m build --outdir "$work/dist" "$root"

"$python" -m venv "$work/user"
"$work/user/bin/python" -m pip install --quiet "$work"/dist/*.whl -c "$constraints"
"$work/user/bin/python" -m pip check
cp "$root/tools/smoke_test.py" "$work"
cd "$work" # where no tfp_ar lies that could be imported in place of the wheel's
env -u PYTHONPATH "$work/user/bin/python" smoke_test.py --not_from "$root" --dist dist
