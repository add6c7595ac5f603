#!/usr/bin/env bash
# Every figure of benches/README.md, one JSON file each, under benches/out (not in git).
#   benches/run.sh [compile|dit|rows|vae|start]...      PYTHON=python of an environment with peers/requirements.txt
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} out=${OUT:-benches/out} rounds=${ROUNDS:-7}
mkdir -p "$out"
cargo build --release --locked
ltxc=$PWD/target/release/ltxc

# Writes a checkpoint, inputs and expected output of a peer script, compiles one component and checks its numbers.
prepare() { # script component options..
  local script=$1 component=$2 name=${1%.py}
  shift 2
  "$python" "benches/peers/$script" "$@" --write-checkpoint "$out/$name.ckpt.safetensors" --write-inputs "$out/$name.in.safetensors" --write-expected "$out/$name.expected.safetensors"
  "$ltxc" compile ltxv --checkpoint "$out/$name.ckpt.safetensors" --only "$component" -o "$out/$name.bundle"
  test "$component" != transformer || rows
  "$ltxc" exec "$out/$name.bundle" "$component" --input "$out/$name.in.safetensors" -o "$out/$name.out.safetensors"
  "$python" benches/peers/compare.py "$out/$name.out.safetensors" "$out/$name.expected.safetensors" --max-abs 2e-4
}

# The transformer also takes `keep`; the peers do not.
rows() {
  "$python" benches/peers/rows.py "$out/dit_step.in.safetensors" "$out/dit_step.rows"
  cp "$out/dit_step.rows1.safetensors" "$out/dit_step.in.safetensors"
}

# The cost of guidance: CFG and STG rows against the plain step, and the plain step without STG in the graph.
bench_rows() {
  prepare dit_step.py transformer
  "$ltxc" compile ltxv --checkpoint "$out/dit_step.ckpt.safetensors" --only transformer --set options.stg_mode=residual -o "$out/dit_plain.bundle"
  local options=() run
  for run in 1 2 3; do
    options+=(--once "rows-$run=$ltxc exec $out/dit_step.bundle transformer --input $out/dit_step.rows$run.safetensors --repeat 3 --threads 2 --json")
  done
  options+=(--once "without-stg=$ltxc exec $out/dit_plain.bundle transformer --input $out/dit_step.rows1.safetensors --repeat 3 --threads 2 --json")
  "$python" benches/peers/paired.py --rounds "$rounds" --json "$out/rows.json" "${options[@]}"
}

bench_dit() {
  prepare dit_step.py transformer
  "$python" benches/peers/dit_step.py --rounds "$rounds" --json "$out/dit.json" --ours "$ltxc exec $out/dit_step.bundle transformer --input $out/dit_step.in.safetensors --repeat 3 --threads 2 --json"
}

bench_vae() {
  prepare vae_decode.py vae_decoder
  "$python" benches/peers/vae_decode.py --rounds "$rounds" --json "$out/vae.json" --ours "$ltxc exec $out/vae_decode.bundle vae_decoder --input $out/vae_decode.in.safetensors --repeat 3 --threads 2 --json"
}

bench_compile() {
  test -f "$out/2b.safetensors" || "$python" benches/peers/synth_checkpoint.py benches/peers/headers/2b.json "$out/2b.safetensors"
  local ours="$ltxc compile ltxv --checkpoint $out/2b.safetensors --only transformer --only vae_encoder --only vae_decoder --only latent_statistics -o $out/2b.bundle"
  "$python" benches/peers/compile_peers.py --dtype bfloat16 --copy "$out/2b.safetensors" --rounds 3 --ours "$ours" --ours-output "$out/2b.bundle" --json "$out/compile.json"
}

# From the start of the process to the first denoising step, and to the finished file.
bench_start() {
  "$ltxc" compile presets/shapes.yaml -o "$out/shapes.bundle"
  "$python" benches/peers/paired.py --rounds 15 --json "$out/start.json" \
    --wall first-step="$ltxc run $out/shapes.bundle --prompt circle --steps 1 --frames 1 --guidance-scale 1 -o $out/start.png" \
    --wall help="$ltxc --version"
}

for name in "${@:-dit rows vae compile start}"; do
  for one in $name; do "bench_$one"; done
done
