"""Trains an in-context LoRA: the clip follows a black-and-white silhouette, the prompt gives the colours.
usage: train_ic_lora.py OUT.safetensors [STEPS=1000]"""
import sys
import numpy as np, torch, data, shipped as S
RANK, CLIPS = 8, 960
silhouette = lambda d: data.render(dict(d, fg="white", bg="black"), 17, 64, 64)


def caption(d, motion):
    return data.caption(d) if motion else data.caption(d).replace(d["motion"] + " ", "")


def main(out, steps=1000):
    rng = np.random.default_rng(41); ds = [data.sample(rng, 17, 64) for _ in range(CLIPS)]
    z, ref = S.encode([data.render(d, 17, 64, 64) for d in ds]), S.tokens(S.encode(map(silhouette, ds))); print("latents", flush=True)
    dit = S.load_dit(); lora = S.add_lora(dit, RANK)

    def loss(_):
        i = rng.choice(CLIPS, 8, replace=False)
        return S.flow_loss(dit, z[i], [caption(ds[k], rng.random() < 0.5) if rng.random() > 0.1 else "" for k in i], ref[i])

    S.train([p for m in lora.values() for p in (m.A, m.B)], loss, steps, 4e-3)
    S.save_lora(lora, out, reference_downscale_factor="1")
    measure(dit, lora)


def shape_mask(y):
    """Pixels far from the colour of the clip's border."""
    v = (np.asarray(y) + 1) * 127.5
    edge = np.concatenate([v[:, :, 0], v[:, :, -1], v[..., 0], v[..., -1]], 2).reshape(3, -1)
    return np.sqrt(((v - np.median(edge, 1)[:, None, None, None]) ** 2).sum(0)) > 60


def measure(dit, lora, n=48):
    """Prints the overlap (IoU) of the shape with the control and how near the colours are, with and without."""
    rng = np.random.default_rng(199); ds = [data.sample(rng, 17, 64) for _ in range(n)]; control = [silhouette(d) for d in ds]
    ref = S.tokens(S.encode(control)); rows = {}
    for name, scale, r, motion in (("no control", 0.0, None, True), ("control, LoRA 0", 0.0, ref, True), ("control", 1.0, ref, True),
                                   ("control, motion not named", 1.0, ref, False)):
        for m in lora.values(): m.scale = scale
        y = rows[name] = S.sample(dit, [caption(d, motion) for d in ds], range(n), reference=r); iou, colour = [], []
        for v, c, d in zip(y, control, ds):
            a, b = shape_mask(v), c[0] > 0; iou.append((a & b).sum() / max(1, (a | b).sum()))
            rgb = lambda k: np.array(data.COLORS[d[k]])[:, None]; p = (v.numpy() + 1) * 127.5
            colour.append([np.abs(np.median(p[:, m], 1)[:, None] - rgb(k)).mean() < 30 for k, m in (("fg", b), ("bg", ~b))])
        print(f"{name}: IoU {np.mean(iou):.3f}, shape colour {np.mean(colour, 0)[0]:.2f}, background {np.mean(colour, 0)[1]:.2f}")
    S.strip([c for k in range(5) for c in (control[k], rows["no control"][k], rows["control, motion not named"][k])], "ic-lora.png")
    print(*enumerate(caption(d, False) for d in ds[:5]), sep="\n")


if __name__ == "__main__": main(sys.argv[1], *map(int, sys.argv[2:]))
