#!/usr/bin/env python3
"""The LTX-Video 0.9.7/0.9.8 latent upscalers: diffusers eager, torch.compile, ONNX Runtime, OpenVINO, and ours.

  latent_upscale.py --write-checkpoint c.safetensors --write-inputs i.safetensors --write-expected e.safetensors
  latent_upscale.py --rounds 5 --ours 'ltxc exec BUNDLE spatial_upscaler --input i.safetensors --repeat 3 --json'

The sizes are the released ones: 128 channels, 512 in the middle, 4 + 4 residual blocks. Weights are seeded, in fp32,
and the same in every run with the same arguments. The checkpoint has the original keys and the flat config metadata.

Input: latents f32[1,128,F,H,W], not normalised. Output: upscaled f32[1,128,F,2H,2W], with --temporal [1,128,2F-1,H,W].
"""
import sys

import peers
import vae_decode


def config(args):
    """The released metadata of one of the two."""
    return {
        "_class_name": "LatentUpsampler", "in_channels": vae_decode.CHANNELS, "mid_channels": args.mid_channels,
        "num_blocks_per_stage": args.blocks, "dims": 3, "spatial_upsample": not args.temporal,
        "temporal_upsample": args.temporal}


def build(args):
    """diffusers' model, its input under our name."""
    import torch
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

    class Upscale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = LTXLatentUpsamplerModel(**{k: v for k, v in config(args).items() if k != "_class_name"})

        def forward(self, latents):
            return self.model(latents)

    return Upscale()


def inputs(args):
    """Normal latents."""
    import torch

    generator = torch.Generator().manual_seed(args.seed + 1)
    return {"latents": torch.randn(1, vae_decode.CHANNELS, *args.latents, generator=generator)}


CASE = peers.Case(script=__file__, output="upscaled", build=build, inputs=inputs, original_key=lambda key: key.removeprefix("model."), config=config)


def parser():
    p = peers.parser(__doc__)
    p.add_argument("--temporal", action="store_true", help="the temporal one")
    p.add_argument("--mid-channels", type=int, default=512)
    p.add_argument("--blocks", type=int, default=4, help="residual blocks before and after")
    p.add_argument("--latents", type=vae_decode.latent_size, default=[3, 8, 12], metavar="FxHxW", help="latent frames, rows, columns (default 3x8x12)")
    return p


if __name__ == "__main__":
    sys.exit(peers.main(CASE, parser().parse_args()))
