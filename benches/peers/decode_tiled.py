#!/usr/bin/env python3
"""Peak memory, time and error of a decode by the length of the video: ours in pieces, diffusers whole and in tiles, OpenVINO.

  decode_tiled.py --ltxc target/release/ltxc [--base-channels 16] [--side 8x12] [--frames 97 257 769] [--most 257]

The 0.9.8 decoder with seeded weights, --base-channels wide (released: 128), on random latents. diffusers decodes whole and
as `enable_tiling` and framewise decoding do it (tiles of 128 pixels by 96, 16 frames by 8); OpenVINO runs the exported
graph whole. Everything that decodes whole stops at --most frames. Each runs in a process of its own; time is that of the
decode, for ours with the loading of all models, and memory also stands without what was there before it. The error is that against diffusers whole, in dB (PSNR over the range of the video); none where
diffusers was not run whole. Prints one JSON object.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy

import peers
import vae_decode

HERE = pathlib.Path(__file__).resolve().parent


# A process inherits the peak of the one that starts it, so a small one stands between.
WATCH = "import resource,subprocess,sys; code=subprocess.call(sys.argv[1:]); print(); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024); sys.exit(code)"


def run(command):
    """(seconds of the decode, peak resident MiB, MiB before the decode) of a process."""
    watched = [sys.executable, "-c", WATCH, *(str(part) for part in command)]
    child = subprocess.run(watched, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}")
    *said, peak = [line for line in child.stdout.splitlines() if line]
    seconds, before, peak = (json.loads(said[-1]) + [0, float(peak)])[:3] if said and said[-1].startswith("[") else (0, 0, 0)
    return round(seconds, 2), round(peak), round(before)


def resident(what):
    """VmRSS or VmHWM of this process, MiB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def diffusers_vae(module, tiled):
    """diffusers' autoencoder around our decoder."""
    from diffusers import AutoencoderKLLTXVideo

    vae = AutoencoderKLLTXVideo(block_out_channels=(8, 8, 8, 8), timestep_conditioning=True).eval()
    vae.decoder = module.decoder
    if tiled:
        vae.enable_tiling(tile_sample_min_height=128, tile_sample_min_width=128, tile_sample_stride_height=96, tile_sample_stride_width=96)
        vae.use_framewise_decoding = True
    return vae


def play(args, folder, frames):
    """One contestant, in this process."""
    import torch
    from safetensors.torch import save_file

    peers.torch_settings(args.threads)
    files = peers.Files(folder / "c.safetensors", folder / f"i{frames}.safetensors", folder / "unused", folder / f"onnx{frames}" / "model.onnx")
    if args.play == "openvino":
        step, _ = peers.prepare_openvino(vae_decode.CASE, args, files)
    else:
        module, inputs = peers.load(vae_decode.CASE, args, files)
        if args.play == "export":
            return peers.export(vae_decode.CASE, args, files)
        vae = diffusers_vae(module, args.play == "tiled")
        shape = (1, -1, 1, 1, 1)
        latents = inputs["latents"] * module.latents_std.view(shape) + module.latents_mean.view(shape)
        step = lambda: vae.decode(latents, inputs["timestep"], return_dict=False)[0]
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak of the imports does not count
    before, begin = resident("VmRSS"), time.perf_counter()
    video = step()
    print(json.dumps([time.perf_counter() - begin, before, resident("VmHWM")]))
    save_file({"video": torch.as_tensor(numpy.array(video)).contiguous()}, folder / "out.safetensors")
    return 0


def error(out, expected):
    """PSNR in dB over the range of the expected video."""
    from safetensors.numpy import load_file

    if not expected.exists():
        return None
    a, b = load_file(out)["video"].astype(numpy.float64), load_file(expected)["video"].astype(numpy.float64)
    mean = ((a - b) ** 2).mean()
    return None if mean == 0 else round(float(10 * numpy.log10((b.max() - b.min()) ** 2 / mean)), 1)


def rows(args, folder, frames):
    """A result for every contestant."""
    own = [sys.executable, __file__, *sys.argv[1:], "--folder", folder, "--frames", frames, "--play"]
    exec_ = [args.ltxc, "exec", folder / "bundle", "vae_decoder", "--input", folder / f"i{frames}.safetensors", "--threads", args.threads, "-o", folder / "out.safetensors", "--json"]
    whole = {"diffusers": own + ["whole"], "openvino": own + ["openvino"], "ltxc": exec_}
    pieces = {"diffusers, tiled": own + ["tiled"], "ltxc, 4 latent frames at a time": exec_ + ["--pieces", "4"], "ltxc, 1 at a time": exec_ + ["--pieces", "1"],
              f"ltxc, {args.budget}": exec_ + ["--memory-budget", args.budget]}
    expected = folder / f"e{frames}.safetensors"
    if frames <= args.most:
        run(own + ["export"])
    for name, command in {**(whole if frames <= args.most else {}), **pieces}.items():
        seconds, mebibytes, before = run(command)
        if name == "diffusers":
            (folder / "out.safetensors").rename(expected)
            psnr = None
        else:
            psnr = error(folder / "out.safetensors", expected)
        row = {"frames": frames, "what": name, "seconds": seconds, "peak_mib": mebibytes, "of_decode_mib": mebibytes - before, "psnr_db": psnr}
        print(row, file=sys.stderr, flush=True)
        yield row


def main():
    p = peers.parser(__doc__)
    p.add_argument("--ltxc", default="target/release/ltxc")
    p.add_argument("--base-channels", type=int, default=16)
    p.add_argument("--side", default="8x12", help="latent rows and columns")
    p.add_argument("--frames", type=int, nargs="+", default=[97, 257, 769])
    p.add_argument("--most", type=int, default=257)
    p.add_argument("--budget", default="100MB")
    p.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    p.add_argument("--play", help=argparse.SUPPRESS)
    args = p.parse_args()
    side = [int(n) for n in args.side.split("x")]
    if args.play:
        args.latents = [(args.frames[-1] - 1) // 8 + 1, *side]
        return play(args, args.folder, args.frames[-1])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for frames in args.frames:
            latents = "x".join(map(str, [(frames - 1) // 8 + 1, *side]))
            run([sys.executable, HERE / "vae_decode.py", "--base-channels", args.base_channels, "--latents", "2x2x2", "--write-checkpoint", folder / "c.safetensors"])
            write_inputs(args, latents, folder / f"i{frames}.safetensors")
        run([args.ltxc, "compile", "ltxv", "--checkpoint", folder / "c.safetensors", "--only", "vae_decoder", "-o", folder / "bundle"])
        results = [row for frames in args.frames for row in rows(args, folder, frames)]
    print(json.dumps({"base_channels": args.base_channels, "side": args.side, "rows": results}))
    return 0


def write_inputs(args, latents, path):
    from safetensors.numpy import save_file

    shape = (1, vae_decode.CHANNELS, *map(int, latents.split("x")))
    values = numpy.random.default_rng(args.seed).standard_normal(shape, dtype=numpy.float32)
    save_file({"latents": values, "timestep": numpy.array([0.05], numpy.float32)}, path)


if __name__ == "__main__":
    sys.exit(main())
