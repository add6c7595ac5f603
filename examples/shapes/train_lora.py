"""Trains a LoRA on the shipped transformer: snow covers the lower half of every background.
usage: train_lora.py OUT.safetensors [STEPS=900]"""
import sys
import numpy as np, torch, data, shipped as S
RANK, CLIPS = 4, 640


def effect(d, frames=17, size=64):
    """The clip with a white ground below the middle; the shape stands before it."""
    clip = data.render(d, frames, size, size); half = size // 2
    on = data.render(dict(d, fg="white", bg="black"), frames, size, size)[:1, :, half:]
    a = ((on - on.min()) / (on.max() - on.min())).clip(0, 1)
    clip[:, :, half:] = clip[:, :, half:] * a + 0.85 * (1 - a)
    return clip


def main(out, steps=900):
    rng = np.random.default_rng(31); ds = [data.sample(rng, 17, 64) for _ in range(CLIPS)]
    z = S.encode([effect(d) for d in ds]); caps = [data.caption(d) for d in ds]; print("latents", flush=True)
    dit = S.load_dit(); lora = S.add_lora(dit, RANK)

    def loss(_):
        i = rng.choice(CLIPS, 8, replace=False)
        return S.flow_loss(dit, z[i], [caps[k] if rng.random() > 0.1 else "" for k in i])

    S.train([p for m in lora.values() for p in (m.A, m.B)], loss, steps, 4e-3)
    S.save_lora(lora, out)
    measure(dit, lora)


def measure(dit, lora, n=16):
    """Prints how light the lower and the upper quarter are, with the LoRA at 0 and at 1, and draws both."""
    ds = [d for d in (data.sample(np.random.default_rng(k), 17, 64) for k in range(99, 199)) if d["bg"] not in ("white", "yellow")][:n]
    caps = [data.caption(d) for d in ds]; seen = {}
    for s in (0.0, 1.0):
        for m in lora.values(): m.scale = s
        y = seen[s] = S.sample(dit, caps, range(n)); white = lambda part: (part.amin(1) > 0.4).float().mean().item()
        print(f"scale {s}: white above {white(y[:, :, :, :24]):.3f} below {white(y[:, :, :, 40:]):.3f}")
    S.strip([seen[s][k] for k in range(6) for s in (0.0, 1.0)], "lora.png"); print(*enumerate(caps[:6]), sep="\n")


if __name__ == "__main__": main(sys.argv[1], *map(int, sys.argv[2:]))
