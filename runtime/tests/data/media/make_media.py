"""Makes the files beside it: small media, and what Pillow, torch, ffmpeg and the reference make of them.

Needs ffmpeg with libx264 and libx265, Pillow, torch, safetensors and the package ltx_video.
"""

import ast
import importlib.util
import pathlib
import subprocess
import types

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
RNG = np.random.default_rng(7)
golden = {}


def smooth(height, width, phase=0.0):
    """A picture whose colours and shapes change slowly."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width, y / height
    waves = [u * 3 + phase, v * 3 - phase, u + v + phase]
    return np.stack([(np.sin(w) * 0.5 + 0.5) * 255 for w in waves], -1).astype(np.uint8)


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def pictures():
    rgb = smooth(9, 13)
    picture = Image.fromarray(rgb)
    alpha = picture.copy()
    alpha.putalpha(Image.fromarray(RNG.integers(0, 256, (9, 13), dtype=np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(HERE / "rgb.png")
    alpha.save(HERE / "alpha.png")
    picture.quantize(16).save(HERE / "palette.png")
    picture.convert("L").save(HERE / "grey.png")
    picture.save(HERE / "rgb.bmp")
    picture.save(HERE / "lossless.webp", lossless=True)
    Image.fromarray(smooth(24, 32)).save(HERE / "turned.jpg", quality=95, exif=exif)
    deep = (RNG.integers(0, 65536, (9, 13, 3))).astype(">u2").tobytes()
    command = "ffmpeg -y -v error -f rawvideo -pix_fmt rgb48be -s 13x9 -i - -f image2 -update 1"
    subprocess.run([*command.split(), HERE / "deep.png"], input=deep, check=True)
    names = "rgb.png alpha.png palette.png grey.png rgb.bmp lossless.webp turned.jpg deep.png"
    for name in names.split():
        image = Image.open(HERE / name)
        if name == "turned.jpg":
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image)
        golden[f"picture.{name}"] = np.array(image.convert("RGB"))


def animations():
    frames = [Image.fromarray(smooth(10, 12, i * 0.4)).quantize(32).convert("RGB") for i in range(4)]
    rest = dict(save_all=True, append_images=frames[1:], duration=80, loop=0)
    frames[0].save(HERE / "moving.gif", **rest)
    frames[0].save(HERE / "moving.png", **rest)
    frames[0].save(HERE / "moving.webp", lossless=True, **rest)
    for name in ["moving.gif", "moving.png", "moving.webp"]:
        image, shown = Image.open(HERE / name), []
        for index in range(4):
            image.seek(index)
            shown.append(np.array(image.convert("RGB")))
        golden[f"animation.{name}"] = np.stack(shown)


def encode(name, frames, *options):
    height, width = frames[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    command = ["ffmpeg", "-y", "-v", "error", *raw, *options, "-fflags", "+bitexact", HERE / name]
    subprocess.run(command, input=b"".join(f.tobytes() for f in frames), check=True)


def decode(name):
    command = ["ffmpeg", "-v", "error", "-i", HERE / name, "-vsync", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    frames = []
    while data:
        _, size, _, rest = data.split(b"\n", 3)
        width, height = map(int, size.split())
        frames.append(np.frombuffer(rest[: width * height * 3], np.uint8).reshape(height, width, 3))
        data = rest[width * height * 3 :]
    return np.stack(frames)


def videos():
    x264 = ["-c:v", "libx264", "-threads", "1", "-x264-params"]
    frames = [smooth(38, 50, i * 0.15) for i in range(12)]
    few = frames[:3]
    moving = [np.roll(frame, 2 * i, 1) for i, frame in enumerate(frames)]
    encode("bframes.mp4", moving, *x264, "bframes=3:b-adapt=0:b-pyramid=normal:8x8dct=1:weightp=2", "-pix_fmt", "yuv420p",
           "-profile:v", "high", "-crf", "12")
    encode("fast.mp4", few, *x264, "bframes=0", "-pix_fmt", "yuv420p", "-profile:v", "baseline", "-crf", "12",
           "-movflags", "+faststart")
    full = ["-vf", "scale=out_color_matrix=bt709:out_range=pc", "-colorspace", "bt709", "-color_range", "pc"]
    encode("full709.mp4", few, *full, *x264, "bframes=2", "-pix_fmt", "yuv420p", "-crf", "12")
    encode("upright.mp4", few, *x264, "bframes=2", "-pix_fmt", "yuv420p", "-crf", "12")
    turned = ["ffmpeg", "-y", "-v", "error", "-i", HERE / "upright.mp4", "-c", "copy"]
    subprocess.run([*turned, "-metadata:s:v:0", "rotate=90", "-fflags", "+bitexact", HERE / "turned.mov"], check=True)
    (HERE / "upright.mp4").unlink()
    middle = [*turned[:4], "-ss", "0.2", "-i", HERE / "bframes.mp4", "-t", "0.12", "-c", "copy", "-fflags", "+bitexact"]
    subprocess.run([*middle, HERE / "edited.mp4"], check=True)
    encode("422.mp4", few[:1], *x264, "keyint=1", "-pix_fmt", "yuv422p")
    encode("interlaced.mp4", [smooth(48, 64)], *x264, "keyint=1:tff=1", "-pix_fmt", "yuv420p", "-flags", "+ilme+ildct")
    encode("h265.mp4", few[:1], "-c:v", "libx265", "-x265-params", "log-level=none:info=0", "-pix_fmt", "yuv420p")
    encode("fragments.mp4", few, *x264, "bframes=0", "-pix_fmt", "yuv420p", "-movflags",
           "+frag_keyframe+empty_moov")
    apart = [*turned[:4], "-i", HERE / "bframes.mp4", "-c", "copy", "-fflags", "+bitexact", "-movflags"]
    subprocess.run([*apart, "+frag_every_frame+empty_moov+default_base_moof", HERE / "bfragments.mp4"], check=True)
    encode("other.mkv", few, "-c:v", "mpeg4", "-q:v", "2")
    for name in ["bframes.mp4", "fast.mp4", "full709.mp4", "turned.mov", "edited.mp4", "fragments.mp4"]:
        Image.fromarray(np.concatenate(decode(name))).save(HERE / f"{name}.png", optimize=True)


def resizes():
    sizes = [((11, 17), (8, 6)), ((9, 7), (20, 31)), ((12, 12), (12, 5)), ((12, 12), (30, 12)), ((2, 40), (5, 3))]
    for index, (source, target) in enumerate(sizes):
        rgb = noise(*source)
        golden[f"bicubic.{index}.from"] = rgb
        golden[f"bicubic.{index}.to"] = np.array(Image.fromarray(rgb).resize(target[::-1]))
        video = RNG.uniform(-1, 1, (1, 2, *source)).astype(np.float32)
        golden[f"bilinear.{index}.from"] = video
        resized = F.interpolate(torch.from_numpy(video), size=target, mode="bilinear", align_corners=False)
        golden[f"bilinear.{index}.to"] = resized.numpy()


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def gaussian_blur(image, kernel_size, sigma):
    half = (kernel_size - 1) * 0.5
    pdf = torch.exp(-0.5 * (torch.linspace(-half, half, kernel_size) / sigma).pow(2))
    line = pdf / pdf.sum()
    kernel = torch.mm(line[:, None], line[None, :]).expand(3, 1, kernel_size, kernel_size)
    padded = F.pad(image[None], [kernel_size // 2] * 4, mode="reflect")
    return F.conv2d(padded, kernel, groups=3)[0]


def without_codec(image):
    return image[: (image.shape[0] // 2) * 2, : (image.shape[1] // 2) * 2]


def reference():
    """The reference's own functions; its module does not import without torchvision and av."""
    package = pathlib.Path(importlib.util.find_spec("ltx_video").submodule_search_locations[0])
    tree = ast.parse((package / "inference.py").read_text())
    wanted = {"load_image_to_tensor_with_resize_and_crop", "calculate_padding"}
    tree.body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in wanted]
    names = {
        "Union": __import__("typing").Union,
        "Image": Image,
        "torch": torch,
        "TVF": types.SimpleNamespace(to_tensor=to_tensor, gaussian_blur=gaussian_blur),
        "crf_compressor": types.SimpleNamespace(compress=without_codec),
    }
    exec(compile(tree, "inference.py", "exec"), names)
    return [names[name] for name in sorted(wanted)]


class Recorder:
    """Stands for a picture and keeps the box it is cropped to."""

    def __init__(self, size):
        self.size = size

    def crop(self, box):
        raise StopIteration(box)


def preparations():
    padding, load = reference()
    cases = [((21, 30), (16, 16)), ((30, 21), (13, 24)), ((13, 40), (24, 26)), ((9, 9), (20, 17))]
    for index, (source, target) in enumerate(cases):
        rgb = noise(*source)
        golden[f"prepare.{index}.from"] = rgb
        golden[f"prepare.{index}.size"] = np.array(target, np.int32)
        up = [(side - 1) // 8 * 8 + 8 for side in target]
        for name, just_crop in [("crop", True), ("resize", False)]:
            tensor = load(Image.fromarray(rgb), *target, just_crop=just_crop)
            tensor = F.pad(tensor, padding(*target, *up))
            golden[f"prepare.{index}.{name}"] = np.ascontiguousarray(tensor[0].numpy())
    golden["crops"] = np.array([crop(load) for _ in range(400)], np.int32)


def crop(load):
    width, height, target_width, target_height = (int(n) for n in RNG.integers(1, 3000, 4))
    if RNG.random() < 0.3:
        scale = int(RNG.integers(1, 4))
        target_width, target_height = width * scale, height * scale
    Image_class, Image.Image = Image.Image, Recorder
    try:
        load(Recorder((width, height)), target_height, target_width)
    except RuntimeError as error:
        raise error
    except StopIteration as stop:
        left, top, right, bottom = stop.value
    finally:
        Image.Image = Image_class
    return [width, height, target_width, target_height, left, top, right - left, bottom - top]


torch.set_num_threads(1)
pictures()
animations()
videos()
resizes()
preparations()
save_file(golden, HERE / "golden.safetensors")
(HERE / "golden.safetensors").chmod(0o644)
