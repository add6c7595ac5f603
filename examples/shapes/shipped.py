"""The shipped model as the add-ons need it: loading, text, coordinates, flow-matching loss, sampling, LoRA layers. One thread."""
import os
os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np, torch, data
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from ltx_video.models.autoencoders.causal_video_autoencoder import CausalVideoAutoencoder
from ltx_video.models.transformers.transformer3d import Transformer3DModel
from transformers import T5EncoderModel
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"])); torch.manual_seed(0)
WEIGHTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights/")
CHECKPOINT = WEIGHTS + "ltxv-shapes.safetensors"
FPS, SPACE, TIME, TOKENS = 24.0, 16, 4, 32

frozen = lambda m: m.float().eval().requires_grad_(False)
vae = frozen(CausalVideoAutoencoder.from_pretrained(CHECKPOINT))
mean, std = vae.mean_of_means.view(1, -1, 1, 1, 1), vae.std_of_means.view(1, -1, 1, 1, 1)
load_dit = lambda: frozen(Transformer3DModel.from_pretrained(CHECKPOINT))
t5 = frozen(T5EncoderModel.from_pretrained(WEIGHTS + "text_encoder"))
tokenizer = Tokenizer.from_file(WEIGHTS + "tokenizer/tokenizer.json")


@torch.no_grad()
def encode(clips):
    """[3, T, H, W] arrays of one size -> un-normalised latents."""
    return torch.cat([vae.encode(torch.from_numpy(c)[None]).latent_dist.mean for c in clips])


@torch.no_grad()
def decode(z, timestep=0.05, noise=0.025):
    """Un-normalised latents -> clips in [-1, 1]; the decoder's noise as the preset has it."""
    g = torch.Generator().manual_seed(0); z = z * (1 - noise) + noise * torch.randn(z.shape, generator=g)
    b, _, f, h, w = z.shape; shape = (b, 3, (f - 1) * TIME + 1, h * SPACE, w * SPACE)
    return vae.decode(z, target_shape=shape, timestep=torch.full((b,), timestep), return_dict=False)[0].clamp(-1, 1)


tokens = lambda z: ((z - mean) / std).flatten(2).transpose(1, 2)
untokens = lambda x, shape: x.transpose(1, 2).reshape(-1, *shape) * std + mean


def text(captions):
    ids, mask = torch.zeros(len(captions), TOKENS, dtype=torch.long), torch.zeros(len(captions), TOKENS)
    for i, c in enumerate(captions):
        e = tokenizer.encode(c).ids[:TOKENS]; ids[i, :len(e)] = torch.tensor(e); mask[i, :len(e)] = 1
    longest = int(mask.sum(1).max()); ids, mask = ids[:, :longest], mask[:, :longest]      # padding is masked anyway
    return dict(encoder_hidden_states=t5(input_ids=ids, attention_mask=mask).last_hidden_state, encoder_attention_mask=mask)


def coords(f, h, w):
    """[3, f*h*w]: seconds and pixels of the tokens."""
    ff, hh, ww = torch.meshgrid(torch.arange(f), torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([(ff * TIME + 1 - TIME).clamp(min=0) / FPS, hh * SPACE, ww * SPACE]).flatten(1)


def velocity(dit, x, t, shape, cond, reference=None):
    """`reference` tokens stand before the video's own, at the same coordinates, with timestep 0."""
    g = coords(*shape[1:]); t = t.view(-1, 1).expand(x.shape[:2])
    if reference is not None:
        x, t, g = torch.cat([reference, x], 1), torch.cat([torch.zeros(reference.shape[:2]), t], 1), torch.cat([g, g], 1)
    v = dit(x, indices_grid=g.expand(len(x), -1, -1), timestep=t, return_dict=False, **cond)[0]
    return v if reference is None else v[:, reference.shape[1]:]


def flow_loss(dit, z, captions, reference=None):
    x = tokens(z); n = torch.randn_like(x); b = len(x)
    t = torch.sigmoid(torch.randn(b) * 1.2 + 0.6); t = torch.where(torch.rand(b) < 0.1, torch.rand(b), t)
    xt = x + t.view(-1, 1, 1) * (n - x)
    return F.mse_loss(velocity(dit, xt, t, z.shape[1:], text(captions), reference), n - x)


@torch.no_grad()
def sample(dit, captions, seeds, shape=(16, 5, 4, 4), steps=20, cfg=3.0, reference=None):
    """Euler steps from the noise of each seed alone -> clips in [-1, 1]."""
    n = (shape[1] * shape[2] * shape[3], shape[0]); b = len(captions)      # drawn in the tokens' layout, as the original pipeline does
    x = torch.stack([torch.randn(n, generator=torch.Generator().manual_seed(s)) for s in seeds]); cond = text([""] * b + list(captions)); ts = torch.linspace(1, 0, steps + 1)
    ref = None if reference is None else reference.repeat(2, 1, 1)
    for t, u in zip(ts[:-1], ts[1:]):
        v = velocity(dit, x.repeat(2, 1, 1), t.repeat(2 * b), shape, cond, ref)
        x = x - (t - u) * (v[:b] + cfg * (v[b:] - v[:b]))
    return decode(untokens(x, shape))


class Lora(torch.nn.Module):
    """A frozen linear layer and its low-rank difference; alpha is the rank, so the scale is 1."""
    def __init__(self, base, rank):
        super().__init__()
        self.base, self.scale = base, 1.0
        self.A = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features ** 0.5)
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + self.scale * F.linear(F.linear(x, self.A), self.B)


def add_lora(dit, rank):
    """Puts a Lora around every attention projection -> {path: Lora}."""
    ends = (".to_q", ".to_k", ".to_v", ".to_out.0"); made = {}
    for path in [p for p, _ in dit.named_modules() if p.endswith(ends)]:
        parent, name = dit.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
        made[path] = Lora(getattr(parent, name), rank); setattr(parent, name, made[path])
    return made


def save_lora(lora, path, **metadata):
    """Keys as ComfyUI reads them: diffusion_model.<layer>.lora_A.weight, .lora_B.weight, .alpha."""
    sd = {}
    for k, m in lora.items():
        sd[f"diffusion_model.{k}.lora_A.weight"], sd[f"diffusion_model.{k}.lora_B.weight"] = m.A, m.B
        sd[f"diffusion_model.{k}.alpha"] = torch.tensor(float(len(m.A)))
    save_file({k: v.detach().to(torch.bfloat16).contiguous() for k, v in sd.items()}, path, metadata={"format": "pt", **metadata})


def train(parameters, loss, steps, lr):
    """AdamW with a warm-up and a cosine; `loss(step)` gives a scalar."""
    import math, time
    opt = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.0); t0 = time.time(); seen = None
    for i in range(steps):
        for g in opt.param_groups: g["lr"] = lr * min(1, (i + 1) / 50) * (0.52 + 0.48 * math.cos(math.pi * i / steps))
        l = loss(i); opt.zero_grad(); l.backward(); torch.nn.utils.clip_grad_norm_(parameters, 1.0); opt.step()
        seen = l.item() if seen is None else 0.98 * seen + 0.02 * l.item()
        if i % 50 == 49: print(f"step {i + 1} {(time.time() - t0) / 60:.1f} min loss {seen:.4f}", flush=True)


def strip(rows, path):
    """A sheet: a row of five frames for each clip, twice the size."""
    from PIL import Image
    im = np.concatenate([np.concatenate([np.asarray(c)[:, k] for k in np.linspace(0, c.shape[1] - 1, 5).astype(int)], 2) for c in rows], 1)
    im = ((im.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype("uint8")
    Image.fromarray(im).resize((im.shape[1] * 2, im.shape[0] * 2), 0).save(path)
