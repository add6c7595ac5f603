"""Does a clip show what its caption asks? The same measure as `ltxc bench adherence`, for steering the training."""
import numpy as np, data

NAMES, RGB = list(data.COLORS), np.array(list(data.COLORS.values()), np.float32)
DIFFERS = 45.0                # distance in RGB from which a pixel is not background


def nearest(rgb):
    return NAMES[int(((RGB - rgb) ** 2).sum(1).argmin())]


def observe(clip):
    """[3, T, H, W] in [-1, 1] -> the colours, the motion; None where there is no shape."""
    v = (np.asarray(clip) + 1) * 127.5; t, h, w = v.shape[1:]
    border = np.concatenate([v[:, :, 0], v[:, :, -1], v[..., 0], v[..., -1]], 2).reshape(3, -1)
    ground = np.median(border, 1); seen = dict(bg=nearest(ground), fg=None, motion=None)
    mask = ((v - ground[:, None, None, None]) ** 2).sum(0) > DIFFERS ** 2; area = mask.sum((1, 2))
    if area.min() < 0.004 * h * w: return seen
    seen["fg"] = nearest(np.median(v[:, mask], 1))
    ys, xs = np.mgrid[:h, :w]; time = np.linspace(-0.5, 0.5, t)
    slope = lambda y: (time * y).sum() / (time ** 2).sum() if t > 1 else 0.0        # change over the clip
    dx, dy = (slope((mask * g).sum((1, 2)) / area) / min(h, w) for g in (xs, ys))
    radius = np.sqrt(area); growth = slope(radius) / radius.mean(); part = (t - 1) / 16
    if max(abs(dx), abs(dy)) > 0.1 * part:
        a, b = (dx, dy) if abs(dx) > abs(dy) else (dy, dx)
        way = ("moves right" if dx > 0 else "moves left") if abs(dx) > abs(dy) else ("moves down" if dy > 0 else "moves up")
        seen["motion"] = way if abs(a) > 2 * abs(b) else None
    else: seen["motion"] = "grows" if growth > 0.2 * part else "shrinks" if growth < -0.2 * part else "stays still"
    return seen


def score(clips, descriptions):
    """Shares of clips with the asked background, shape colour, motion."""
    seen = [observe(c) for c in clips]
    return {k: float(np.mean([s[k] == d[k] for s, d in zip(seen, descriptions)])) for k in ("bg", "fg", "motion")}
