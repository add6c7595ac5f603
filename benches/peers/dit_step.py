#!/usr/bin/env python3
"""One denoising step of the LTX-Video 2B transformer: diffusers eager, torch.compile, ONNX Runtime, OpenVINO, and ours.

  dit_step.py --write-checkpoint c.safetensors --write-inputs i.safetensors --write-expected e.safetensors
  dit_step.py --rounds 9 --ours 'ltxc exec BUNDLE --component transformer --inputs i.safetensors --repeat 3 --json'

The widths are the released ones (32 heads x 64, feed-forward 8192, caption 4096, 128 latent channels); --layers takes
some of its 28 blocks. Weights are seeded, in fp32, and the same in every run with the same arguments. The checkpoint
has the original single-file keys (model.diffusion_model.*) and config metadata, and holds the transformer only.

Inputs: latents f32[1,S,128]; coords f32[1,3,S] (seconds, pixel row, pixel column of each token); text f32[1,L,4096];
text_mask i64[1,L] (1 keep, 0 drop); timestep f32[1,1], or f32[1,S] with --per-token, sigma in 0..1.
Output: velocity f32[1,S,128].
"""
import json
import sys
from pathlib import Path

import peers

TIMESTEP_SCALE = 1000.0
FRAMES_PER_SECOND = 25.0
HEADER = Path(__file__).parent / "headers" / "2b.json"
RENAMES = (("proj_in.", "patchify_proj."), ("time_embed.", "adaln_single."), ("norm_q.", "q_norm."), ("norm_k.", "k_norm."))


def build(args):
    """diffusers' transformer behind our input names; sigma is scaled inside, as in a compiled graph."""
    import torch
    from diffusers import LTXVideoTransformer3DModel

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = LTXVideoTransformer3DModel(
                num_layers=args.layers, num_attention_heads=args.heads, attention_head_dim=args.head_dim,
                cross_attention_dim=args.heads * args.head_dim, caption_channels=args.caption)

        def forward(self, latents, coords, text, text_mask, timestep):
            return self.transformer(hidden_states=latents, encoder_hidden_states=text, timestep=timestep * TIMESTEP_SCALE,
                                    encoder_attention_mask=text_mask, video_coords=coords, return_dict=False)[0]

    return Step()


def inputs(args):
    """A step in the middle of a video at 25 frames a second, a quarter of the text masked away."""
    import torch

    generator = torch.Generator().manual_seed(args.seed + 1)
    token, kept = torch.arange(args.tokens), torch.arange(args.text_tokens) < max(1, args.text_tokens * 3 // 4)
    rows, columns = args.latent_rows, args.latent_columns
    frame = token // (rows * columns)
    seconds = (frame * 8 - 7).clamp(min=0) / FRAMES_PER_SECOND
    row, column = token // columns % rows * 32, token % columns * 32
    sigma = torch.full((1, 1), 0.725)
    return {
        "latents": torch.randn(1, args.tokens, 128, generator=generator),
        "coords": torch.stack([seconds, row.float(), column.float()])[None],
        "text": torch.randn(1, args.text_tokens, args.caption, generator=generator),
        "text_mask": kept.long()[None],
        "timestep": torch.where(frame == 0, 0.0, 0.725)[None] if args.per_token else sigma,
    }


def original_key(key):
    """`transformer.proj_in.weight` -> `model.diffusion_model.patchify_proj.weight`."""
    key = key.removeprefix("transformer.")
    for ours, original in RENAMES:
        key = key.replace(ours, original)
    return "model.diffusion_model." + key


def config(args):
    """The released metadata with the sizes of this run."""
    released = json.loads(HEADER.read_text())["config"]
    sizes = {"num_layers": args.layers, "num_attention_heads": args.heads, "attention_head_dim": args.head_dim,
             "cross_attention_dim": args.heads * args.head_dim, "caption_channels": args.caption}
    return {**released, "transformer": {**released["transformer"], **sizes}}


CASE = peers.Case(script=__file__, output="velocity", build=build, inputs=inputs, original_key=original_key, config=config)


def parser():
    p = peers.parser(__doc__)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--tokens", type=int, default=1536)
    p.add_argument("--latent-rows", type=int, default=16, help="rows of 32 pixels")
    p.add_argument("--latent-columns", type=int, default=24, help="columns of 32 pixels")
    p.add_argument("--text-tokens", type=int, default=256)
    p.add_argument("--per-token", action="store_true", help="a timestep for each token; without it one for all")
    p.add_argument("--heads", type=int, default=32)
    p.add_argument("--head-dim", type=int, default=64)
    p.add_argument("--caption", type=int, default=4096, help="width of the text encoder's output")
    return p


if __name__ == "__main__":
    sys.exit(peers.main(CASE, parser().parse_args()))
