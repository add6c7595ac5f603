"""What diffusers' LTXI2VLongMultiPromptPipeline makes of three windows that overlap, for src/run/window/parity.rs.

Needs torch, diffusers and safetensors."""

import pathlib

import torch
from diffusers.pipelines.ltx import pipeline_ltx_i2v_long_multi_prompt as peer
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
CHANNELS, LENGTH, HEIGHT, WIDTH = 3, 6, 2, 3
generator = torch.Generator().manual_seed(0)


def latents(spread, mean):
    shape = (1, CHANNELS, LENGTH, HEIGHT, WIDTH)
    return torch.randn(shape, generator=generator) * spread + mean


windows = {"first": latents(1.0, 0.0), "second": latents(1.7, 0.4), "third": latents(0.5, -0.3)}
golden = dict(windows)
for overlap in (2, 3, 5):
    for factor in (0.0, 0.25, 1.0):
        fused = windows["first"]
        for name in ("second", "third"):
            moved = peer.adain_normalize_latents(windows[name], windows["first"], factor)
            fused = peer.linear_overlap_fuse(fused, moved, overlap)
        golden[f"overlap{overlap}.factor{factor}"] = fused.contiguous()
for anchors in (1, 2, 3):
    places = peer.get_latent_coords(anchors, HEIGHT, WIDTH, 1, "cpu", (8, 32, 32), -anchors)
    golden[f"anchors{anchors}"] = places.to(torch.float32).contiguous()
save_file(golden, HERE / "windows.safetensors")
(HERE / "windows.safetensors").chmod(0o644)
