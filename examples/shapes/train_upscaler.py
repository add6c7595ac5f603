"""Trains a spatial latent upscaler: un-normalised latents of a clip -> those of the same clip at twice the size.
usage: train_upscaler.py OUT.safetensors [STEPS=6000] [MID=32]"""
import sys, json
import numpy as np, torch, data, shipped as S
from safetensors.torch import save_file
from ltx_video.models.autoencoders.latent_upsampler import LatentUpsampler
out, steps, mid = sys.argv[1], *map(int, (sys.argv[2:] + ["6000", "32"][len(sys.argv) - 2:])[:2])
CLIPS, TEST, SIZES = 320, 16, [(64, 9), (64, 17), (32, 9), (32, 17)]


def pairs(rng, size, frames, n):
    ds = [data.sample(rng, frames, size) for _ in range(n)]
    return [S.encode([data.render(d, frames, k, k) for d in ds]) for k in (size, 2 * size)] + [ds]


rng = np.random.default_rng(21); sets = [pairs(rng, *s, CLIPS) for s in SIZES]; print("latents", flush=True)
net = LatentUpsampler(16, mid, 1, dims=3)


def loss(_):
    small, large, _ = sets[rng.choice(4, p=[0.35, 0.35, 0.15, 0.15])]; i = rng.choice(len(small), 8, replace=False)
    x = small[i] + 0.05 * S.std * torch.randn_like(small[i])
    return (((net(x) - large[i]) / S.std) ** 2).mean()


S.train(list(net.parameters()), loss, steps, 2e-3)
net = net.bfloat16().float().eval()
save_file({k: v.bfloat16() for k, v in net.state_dict().items()}, out, metadata={"config": json.dumps(net.config())})
psnr = lambda a, b: 10 * np.log10(4 / ((a - b) ** 2).mean((1, 2, 3, 4))).mean().item()
for size, frames in SIZES:
    small, large, ds = pairs(np.random.default_rng(99), size, frames, TEST)
    clip = torch.from_numpy(np.stack([data.render(d, frames, 2 * size, 2 * size) for d in ds]))
    with torch.no_grad(): mine = net(small)
    line = torch.nn.functional.interpolate(small, scale_factor=(1, 2, 2), mode="trilinear")
    print(f"{size}->{2 * size} x{frames} PSNR upscaler %.2f bilinear %.2f encoded %.2f" % tuple(psnr(S.decode(z), clip) for z in (mine, line, large)))
    if frames == 17: S.strip([c for k in range(2) for c in (clip[k], *(S.decode(z[k:k + 1])[0] for z in (mine, line)))], f"upscaler-{size}.png")
