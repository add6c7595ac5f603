#!/usr/bin/env python3
"""The LTX-Video 0.9.8 VAE decoder: diffusers eager, torch.compile, ONNX Runtime, OpenVINO, and ours.

  vae_decode.py --write-checkpoint c.safetensors --write-inputs i.safetensors --write-expected e.safetensors
  vae_decode.py --rounds 9 --ours 'ltxc exec BUNDLE --component vae_decoder --inputs i.safetensors --repeat 3 --json'

The widths are the released ones (--base-channels 128, so 1024 at the bottom). Weights are seeded, in fp32, and the
same in every run with the same arguments. The checkpoint has the original single-file keys (vae.*) and config
metadata, and holds the decoder and the per-channel statistics only.

Inputs: latents f32[1,128,F,H,W], normalised; timestep f32[1], the decode timestep in 0..1.
Output: video f32[1,3,8F-7,32H,32W], nominally -1..1.
"""
import json
import re
import sys
from pathlib import Path

import peers

CHANNELS = 128
RELEASED_BASE = 128
HEADER = Path(__file__).parent / "headers" / "2b.json"


def build(args):
    """Un-normalise, then diffusers' decoder."""
    import torch

    class Decode(torch.nn.Module):
        def __init__(self):
            super().__init__()
            generator = torch.Generator().manual_seed(args.seed + 2)
            self.register_buffer("latents_mean", 0.3 * torch.randn(CHANNELS, generator=generator, device="cpu"))
            self.register_buffer("latents_std", 0.5 + torch.rand(CHANNELS, generator=generator, device="cpu"))
            self.decoder = decoder(args.base_channels)

        def forward(self, latents, timestep):
            shape = (1, -1, 1, 1, 1)
            return self.decoder(latents * self.latents_std.view(shape) + self.latents_mean.view(shape), timestep)

    return Decode()


def decoder(base):
    """diffusers' decoder as its 0.9.5 to 0.9.8 configuration has it."""
    from diffusers.models.autoencoders.autoencoder_kl_ltx import LTXVideoDecoder3d

    return LTXVideoDecoder3d(
        in_channels=CHANNELS, block_out_channels=(2 * base, 4 * base, 8 * base), spatio_temporal_scaling=(True,) * 3,
        layers_per_block=(5, 5, 5, 5), inject_noise=(False,) * 4, timestep_conditioning=True,
        upsample_residual=(True,) * 3, upsample_factor=(2, 2, 2), is_causal=False)


def inputs(args):
    """Normal latents and the default decode timestep."""
    import torch

    generator = torch.Generator().manual_seed(args.seed + 1)
    return {"latents": torch.randn(1, CHANNELS, *args.latents, generator=generator), "timestep": torch.tensor([0.05])}


def original_key(key):
    """`decoder.up_blocks.1.resnets.0.conv1.conv.weight` -> `vae.decoder.up_blocks.4.res_blocks.0.conv1.conv.weight`.

    The original counts upsamplers as blocks of their own: 0 is the middle, then upsampler and block by turns.
    """
    statistics = {"latents_mean": "mean-of-means", "latents_std": "std-of-means"}
    if key in statistics:
        return "vae.per_channel_statistics." + statistics[key]
    key = key.removeprefix("decoder.").replace("resnets.", "res_blocks.")
    block = re.match(r"up_blocks\.(\d+)\.(upsamplers\.0\.)?", key)
    if block:
        key = f"up_blocks.{2 * int(block[1]) + (1 if block[2] else 2)}.{key[block.end():]}"
    key = re.sub(r"^mid_block\.", "up_blocks.0.", key)
    return "vae.decoder." + re.sub(r"^(time_embedder|scale_shift_table)", r"last_\1", key)


def extra(args):
    """The statistics that every released file has and no decoder reads."""
    import torch

    stds = torch.ones(CHANNELS)
    return {
        "vae.per_channel_statistics.channel": torch.arange(CHANNELS).float(),
        "vae.per_channel_statistics.mean-of-stds": stds,
        "vae.per_channel_statistics.mean-of-stds_over_std-of-means": stds.clone(),
    }


def config(args):
    """The released metadata; the original loader takes a missing decoder_base_channels for 128."""
    released = json.loads(HEADER.read_text())["config"]
    size = {} if args.base_channels == RELEASED_BASE else {"decoder_base_channels": args.base_channels}
    return {**released, "vae": {**released["vae"], **size}}


CASE = peers.Case(script=__file__, output="video", build=build, inputs=inputs, original_key=original_key, config=config, extra=extra)


def latent_size(text):
    """`3x8x12` -> [3, 8, 12]: latent frames, rows, columns."""
    size = [int(part) for part in text.split("x")]
    if len(size) != 3 or min(size) < 1:
        raise ValueError(text)
    return size


def parser():
    p = peers.parser(__doc__)
    p.add_argument("--base-channels", type=int, default=RELEASED_BASE)
    p.add_argument("--latents", type=latent_size, default=[3, 8, 12], metavar="FxHxW", help="latent frames, rows, columns (default 3x8x12)")
    return p


if __name__ == "__main__":
    sys.exit(peers.main(CASE, parser().parse_args()))
