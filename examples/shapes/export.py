"""Writes the checkpoint and the text encoder with the averaged weights of train_dit.py; the VAE stays, but its posterior
becomes tight: the log-variance was never trained (its spread was wider than the latents), so it is pinned to -8.
usage: export.py DIT.pt OUT_FOLDER"""
import os, sys
import torch, shipped as S
from safetensors import safe_open
from safetensors.torch import load_file, save_file
LOG_VARIANCE = -8.0                                        # a standard deviation of 0.018; the latents have 0.6


def main(trained, out):
    dit, t5 = S.load_dit(), S.t5
    with torch.no_grad():
        state = torch.load(trained, weights_only=False); t5.load_state_dict(state["t5"])
        for p, e in zip(dit.parameters(), state["ema"]): p.copy_(e)
    with safe_open(S.CHECKPOINT, "pt") as f: metadata = f.metadata()
    sd = load_file(S.CHECKPOINT); sd.update({"model.diffusion_model." + k: v.bfloat16() for k, v in dit.state_dict().items()})
    sd["vae.encoder.conv_out.conv.weight"][-1] = 0; sd["vae.encoder.conv_out.conv.bias"][-1] = LOG_VARIANCE
    text = {k: v.bfloat16() for k, v in t5.state_dict().items() if k != "encoder.embed_tokens.weight"}
    os.makedirs(out + "/text_encoder", exist_ok=True)
    for path, tensors, meta in ((out + "/ltxv-shapes.safetensors", sd, metadata), (out + "/text_encoder/model.safetensors", text, {"format": "pt"})):
        save_file({k: v.contiguous() for k, v in tensors.items()}, path + ".tmp", metadata=meta); os.replace(path + ".tmp", path)


if __name__ == "__main__": main(*sys.argv[1:])
