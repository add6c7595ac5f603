#!/usr/bin/env bash
# Every figure of benches/README.md, one JSON file each, under benches/out (not in git).
#   benches/run.sh [compile|dit|int8|formats|quality|rows|vae|length|tiles|plan|long|seams|beside|start|sparse]...      PYTHON=python of an environment with peers/requirements.txt
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

# The same step with a timestep for each token, on 8-bit integers: its error, and its time against all peers in fp32.
bench_int8() {
  prepare dit_step.py transformer --per-token
  local bundle=$out/dit_int8.bundle in=$out/dit_step.in.safetensors
  "$ltxc" compile ltxv --checkpoint "$out/dit_step.ckpt.safetensors" --only transformer --quant int8-dynamic -o "$bundle"
  "$ltxc" exec "$bundle" transformer --input "$in" -o "$out/dit_int8.out.safetensors"
  "$python" benches/peers/compare.py "$out/dit_int8.out.safetensors" "$out/dit_step.expected.safetensors" --relative 0.02
  "$python" benches/peers/dit_step.py --per-token --rounds "$rounds" --json "$out/int8.json" --ours "$ltxc exec $bundle transformer --input $in --repeat 3 --threads 2 --json"
}

# Peak memory of a decode by the length of the video, at once and in pieces.
bench_length() {
  "$ltxc" compile presets/shapes.yaml -o "$out/shapes.bundle"
  "$python" benches/peers/decode_length.py --ltxc "$ltxc" --bundle "$out/shapes.bundle" --most 769 --decode whole 4 1 | tee "$out/length.txt"
}

# Peak memory, time and error of a decode by the length of the video, against diffusers whole and in tiles, and OpenVINO.
bench_tiles() {
  "$python" benches/peers/decode_tiled.py --ltxc "$ltxc" | tee "$out/tiles.json"
}

# What NVIDIA's builder plans without a GPU for the components around the transformer, in fp16: 0.9.8's decoder and encoder
# in pieces, for two sizes of video, and the spatial upscaler, for the latents of first passes.
bench_plan() {
  local model=$out/2b-1.safetensors upscaler=$out/upscaler.safetensors only=() size component
  test -f "$model" || "$python" benches/peers/synth_checkpoint.py benches/peers/headers/2b.json "$model" --layers 1
  test -f "$upscaler" || "$python" benches/peers/latent_upscale.py --write-checkpoint "$upscaler"
  for component in vae_decoder vae_encoder spatial_upscaler; do only+=(--only "$component"); done
  "$ltxc" compile ltxv-2b-0.9.8-distilled --checkpoint "$model" --spatial-upscaler "$upscaler" "${only[@]}" --target tensorrt-rtx --quant fp16 -o "$out/around.bundle"
  for size in 1920x1088x257 3840x2176x257; do
    for component in vae_decoder vae_encoder; do
      "$python" benches/peers/decode_plan.py --component "$component" --bundle "$out/around.bundle" --size "$size" | tee "$out/plan-$component-$size.json"
    done
  done
  for size in 8x12 22x40 34x60 44x80; do
    "$python" benches/peers/trt_rtx_plan.py "$out/around.bundle/spatial_upscaler.onnx" --sm 89 --shape "latents=1x128x33x$size" | tee "$out/plan-upscaler-$size.json"
  done
}

# Peak memory of a whole run by the length of the video, decoded beside denoising and after it: windows of 33 frames.
bench_long() {
  "$ltxc" compile presets/shapes.yaml -o "$out/shapes.bundle"
  local options=() frames order
  for order in beside sequential; do
    for frames in ${FRAMES:-97 257 769 2049}; do
      options+=(--wall "$order-$frames=$ltxc run $out/shapes.bundle --prompt circle --frames $frames --steps 1 --height 192 --width 192 --decode 2 $(test $order = beside || echo --sequential) -o $out/long.mp4")
    done
  done
  "$python" benches/peers/paired.py --rounds 1 --json "$out/long.json" "${options[@]}"
}

# Where the windows of the tiny model's long videos meet, and how their colours drift.
bench_seams() {
  local change name
  "$ltxc" compile presets/shapes.yaml -o "$out/shapes.bundle"
  for change in window_overlap=8 window_anchors=1 window_strength=0.5 window_adain_factor=0.5 "window_anchors=1 window_adain_factor=0.5" window_overlap=16; do
    name=${change//[ =]/-}
    echo "$change"
    # shellcheck disable=SC2086
    "$ltxc" bench seams "$out/shapes.bundle" --prompts "${PROMPTS:-5}" --frames 257 --plot "$out/seams-$name.svg" $(printf -- '--set defaults.%s ' $change) | tee "$out/seams-$name.txt"
  done
  cp "$out/seams-window_overlap-8.svg" docs/seams.svg
}

# A long video decoded while the rest is denoised, and after all is: time to the first frame, time in all, peak memory.
bench_beside() {
  "$ltxc" compile presets/shapes.yaml -o "$out/shapes.bundle"
  "$python" benches/peers/beside.py --ltxc "$ltxc" --bundle "$out/shapes.bundle" -- --frames 257 --height 128 --width 128 --steps 8 --decode 8 | tee "$out/beside.txt"
}

# The same step in every format that runs here, against ours in fp32: time, error, bytes on disk. Ranges are invented.
bench_formats() {
  prepare dit_step.py transformer --per-token
  local in=$out/dit_step.in.safetensors at recipe
  "$python" benches/peers/ranges.py "$out/dit_step.ckpt.safetensors" 8 > "$out/ranges.json"
  local options=(--once "fp32=$ltxc exec $out/dit_step.bundle transformer --input $in --repeat 3 --threads 2 --json")
  for recipe in int8-dynamic int8 int4; do
    at=$out/dit_$recipe
    "$ltxc" compile ltxv --checkpoint "$out/dit_step.ckpt.safetensors" --only transformer --quant "$recipe" --scales "$out/ranges.json" -o "$at.bundle"
    "$ltxc" exec "$at.bundle" transformer --input "$in" -o "$at.out.safetensors"
    "$python" benches/peers/compare.py "$at.out.safetensors" "$out/dit_step.expected.safetensors" --relative 0.12
    options+=(--once "$recipe=$ltxc exec $at.bundle transformer --input $in --repeat 3 --threads 2 --json")
  done
  du -b "$out"/dit_*.bundle/transformer.onnx.data
  "$python" benches/peers/paired.py --rounds "$rounds" --json "$out/formats.json" "${options[@]}"
}

# What every number format that runs here costs the videos of the tiny model.
bench_quality() {
  local recipe
  "$ltxc" compile presets/shapes.yaml -o "$out/shapes.bundle"
  printf '%s\n' "a red circle moves right on a blue background" "a white square grows on a black background" \
    "a green triangle moves up on a yellow background" "a blue circle shrinks on a white background" > "$out/calibration.txt"
  "$ltxc" calibrate "$out/shapes.bundle" --prompts "$out/calibration.txt" -o "$out/scales.json"
  for recipe in fp16 int8-dynamic int8 int4; do
    "$ltxc" compile presets/shapes.yaml --quant "$recipe" --scales "$out/scales.json" -o "$out/shapes-$recipe.bundle"
    "$ltxc" bench quality "$out/shapes.bundle" "$out/shapes-$recipe.bundle" --prompts "${PROMPTS:-20}" | tee "$out/quality-$recipe.txt"
  done
  # E4M3 has no kernels on a CPU: in f16 its numbers are widened at every product, which gives the same videos, slowly.
  sed 's/^target: .*/target: widened/; s/quantized_products: .*/quantized_products: [f8e4m3]\n  quantized_attention: [f8e4m3]/' presets/targets/ort-cpu.yaml > "$out/widened.yaml"
  for recipe in fp8 fp8-attention "fp8 fp8-attention"; do
    # shellcheck disable=SC2046
    "$ltxc" compile presets/shapes.yaml --target "$out/widened.yaml" --quant fp16 $(printf -- '--quant %s ' $recipe) --scales "$out/scales.json" -o "$out/shapes-fp8.bundle"
    "$ltxc" bench quality "$out/shapes.bundle" "$out/shapes-fp8.bundle" --prompts "${PROMPTS:-20}" | tee "$out/quality-${recipe// /-}.txt"
  done
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

# One block of a step of 1024 x 1024 pixels, dense and sparse: 16,384 tokens in 121 frames, 32,768 in 249.
bench_sparse() {
  local frames form at=$out/sparse
  for frames in 121 249; do
    "$python" benches/peers/dit_step.py --layers 1 --tokens $(((frames + 7) / 8 * 1024)) --latent-rows 32 --latent-columns 32 --write-checkpoint "$at.ckpt.safetensors" --write-inputs "$at.in.safetensors"
    "$python" benches/peers/rows.py "$at.in.safetensors" "$at.rows" --blocks 1
    local options=()
    for form in dense sliding-tiles radial; do
      local recipe=(--attention "$form")
      test "$form" != dense || recipe=()
      "$ltxc" compile ltxv --checkpoint "$at.ckpt.safetensors" --only transformer --size "1024x1024x$frames" --rows 1 --set "defaults.skip_block_list=[0]" "${recipe[@]}" -o "$at.$form.bundle"
      options+=(--once "$form=$ltxc exec $at.$form.bundle transformer --input $at.rows1.safetensors --repeat 1 --threads 2 --json")
    done
    "$python" benches/peers/paired.py --rounds "$rounds" --json "$at.$frames.json" "${options[@]}"
    for form in dense sliding-tiles radial; do
      "$ltxc" exec "$at.$form.bundle" transformer --input "$at.rows1.safetensors" -o "$at.$form.out.safetensors"
      "$python" benches/peers/compare.py "$at.$form.out.safetensors" "$at.dense.out.safetensors"
    done
  done
}

for name in "${@:-dit rows vae compile start sparse}"; do
  for one in $name; do "bench_$one"; done
done
