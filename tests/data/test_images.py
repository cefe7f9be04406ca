"""Pictures: the arithmetic against numpy written independently, the text form, and damaged files."""

import contextlib
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnxq.data.check import check_samples
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import InputSpec, input_specs
from onnxq.data.source import open_samples
from onnxq.errors import DataError, UsageError

SPEC = InputSpec("image", np.dtype(np.float32), (None, 3, 6, 8))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return tmp_path


def load(folder: Path, text: str, spec: InputSpec = SPEC) -> np.ndarray:
    (sample,) = check_samples(open_samples(folder, [spec], preprocessing=Preprocessing.parse(text)), [spec])
    return sample.feeds[spec.name]


def bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Antialiased bilinear resampling by its definition: a triangle filter as wide as the scale."""

    def weights(old: int, new: int) -> np.ndarray:
        scale = max(old / new, 1.0)
        centres = (np.arange(new)[:, None] + 0.5) * old / new
        w = np.maximum(0, 1 - np.abs((np.arange(old)[None] + 0.5 - centres) / scale))
        return np.asarray(w / w.sum(axis=1, keepdims=True))

    h, w = pixels.shape[:2]
    rows = np.rint(np.einsum("xw,hwc->hxc", weights(w, width), pixels))
    return np.asarray(np.rint(np.einsum("yh,hxc->yxc", weights(h, height), rows)))


def test_normalisation_is_pixel_times_scale_minus_mean_by_std(picture: Path) -> None:
    rgb = np.asarray(Image.open(picture / "p.png")).astype(np.float64)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    text = "scale=1/255,mean=0.485|0.456|0.406,std=0.229|0.224|0.225"
    expected = ((rgb / 255 - mean) / std).transpose(2, 0, 1)[None]
    got = load(picture, text)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-7)
    np.testing.assert_allclose(
        load(picture, f"{text},color=bgr"),
        ((rgb[:, :, ::-1] / 255 - mean) / std).transpose(2, 0, 1)[None],
        rtol=0,
        atol=2e-7,
    )


def test_layout_gray_and_integer_inputs(picture: Path) -> None:
    rgb = np.asarray(Image.open(picture / "p.png"))
    channels_last = InputSpec("x", np.dtype(np.uint8), (1, 6, 8, 3))
    got = load(picture, "layout=nhwc", channels_last)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got[0], rgb)
    gray = load(picture, "color=gray", InputSpec("x", np.dtype(np.float32), (1, 1, 6, 8)))
    luma = rgb @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, which Pillow's L stands for
    np.testing.assert_allclose(gray[0, 0], luma, rtol=0, atol=1)
    with pytest.raises(DataError, match="leave scale, mean and std out"):
        load(picture, "layout=nhwc,scale=1/255", channels_last)


def test_stretch_crop_and_letterbox_against_the_definition(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (20, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.bmp")
    spec = InputSpec("x", np.dtype(np.float32), (None, 3, None, None))

    def got(text: str) -> np.ndarray:
        return np.moveaxis(load(tmp_path, text, spec)[0], 0, 2)

    np.testing.assert_allclose(got("size=8x16"), bilinear(pixels, 8, 16), atol=1)
    whole = bilinear(pixels, 10, 25)  # the short side of 20 becomes 10
    np.testing.assert_allclose(got("size=8x8,resize=10"), whole[1:9, 8:16], atol=1)
    np.testing.assert_allclose(got("size=8x8,resize=10,crop=top-left"), whole[:8, :8], atol=1)
    box = np.full((20, 20, 3), 7.0)  # 20x50 fits into 20x20 as 8x20
    box[6:14] = bilinear(pixels, 8, 20)
    np.testing.assert_allclose(got("size=20x20,resize=letterbox,pad=7"), box, atol=1)
    np.testing.assert_allclose(
        got("size=20x20,resize=letterbox,pad=7,place=top-left"), np.roll(box, -6, axis=0), atol=1
    )


OPTIONS = st.builds(
    Preprocessing,
    size=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    resize=st.sampled_from(["stretch", "letterbox", 1000]),
    crop=st.sampled_from(["center", "top-left"]),
    place=st.sampled_from(["center", "top-left"]),
    pad=st.integers(0, 255),
    filter=st.sampled_from(["bilinear", "bicubic", "lanczos", "nearest"]),
    color=st.sampled_from(["rgb", "bgr"]),
    layout=st.sampled_from(["nchw", "nhwc"]),
    scale=st.floats(allow_nan=False, allow_infinity=False).filter(bool),
    mean=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3),
    std=st.tuples(st.floats(1e-300, 1e300)),
)


@given(OPTIONS)
def test_text_and_options_are_one(options: Preprocessing) -> None:
    assert Preprocessing.parse(str(options)) == options


@given(
    st.text(max_size=40)
    | st.from_regex(r"(size|resize|scale|mean|std|pad)=[0-9.x/|e+-]{0,20}", fullmatch=True)
)
def test_any_text_is_understood_or_wrong_use(text: str) -> None:
    with contextlib.suppress(UsageError):
        understood = Preprocessing.parse(text)
        assert Preprocessing.parse(str(understood)) == understood


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("meen=1", "no key 'meen'; did you mean 'mean'"),
        ("mean", "expected key=value"),
        ("scale=1,scale=2", "given twice"),
        ("size=224", "HEIGHTxWIDTH"),
        ("size=0x8", "size must be from 1"),
        ("size=300x300,resize=256", "resize=256 is less than size=300x300"),
        ("color=red", "color=red is not one of rgb, bgr, gray"),
        ("mean=1|2", "mean has 2 numbers, expected 1 or 3"),
        ("std=0", "must be finite and not 0"),
        ("scale=1/0", "scale=1/0 cannot be understood"),
        ("pad=300", "0 to 255"),
    ],
)
def test_wrong_text_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocessing.parse(text)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (InputSpec("x", np.dtype(np.float32), (1, 8, 8, 3)), "layout=nchw, color=rgb"),
        (InputSpec("x", np.dtype(np.float32), (1, 8)), "takes no pictures"),
        (InputSpec("x", np.dtype(np.float32), (1, 3, None, None)), "add size=HEIGHTxWIDTH"),
    ],
)
def test_preprocessing_must_fit_the_input(picture: Path, spec: InputSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_samples(picture, [spec], preprocessing=Preprocessing())


def test_pictures_and_preprocessing_belong_together(picture: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--preprocess"):
        open_samples(picture, [SPEC])
    with pytest.raises(UsageError, match="for files of pictures"):
        open_samples([{"image": np.zeros((1, 3, 6, 8))}], [SPEC], preprocessing=Preprocessing())


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"GIF89a" + b"\0" * 50])
def test_damaged_pictures_are_named(picture: Path, content: bytes) -> None:
    (picture / "p.png").write_bytes(content)
    with pytest.raises(DataError, match=r"p\.png' cannot be read as a picture"):
        load(picture, "")


def test_too_many_pixels_are_refused(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(DataError, match=r"p\.png' cannot be read.*48 pixels"):
        load(picture, "")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(DataError, match="too long"):
        load(picture, "size=6x6,resize=60")


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("squeezenet11", "imagenet/calib", "resize=256,color=bgr,mean=104|117|123"),
        ("mobilenet_v1_0.25_128_qat", "imagenet/calib", "resize=146,mean=128,std=128"),
        ("yolox_nano", "coco/train2017", "resize=letterbox,place=top-left,color=bgr"),
        ("ultraface_rfb_320", "coco/train2017", "mean=127,std=128"),
    ],
)
def test_published_models_get_their_published_preprocessing(
    zoo: ModuleType, tmp_path: Path, name: str, data: str, text: str
) -> None:
    entry = zoo.load(name)
    specs = input_specs(ir.load(entry.float_model))
    for path in zoo.files(zoo.ROOT / "data" / data)[:6]:
        (tmp_path / path.name).symlink_to(path)
    expected = {}
    for path in tmp_path.iterdir():
        expected[path.name] = entry.task.encode(path)[specs[0].name]
    samples = check_samples(open_samples(tmp_path, specs, preprocessing=Preprocessing.parse(text)), specs)
    for sample in samples:
        want = expected[sample.name.rpartition("/")[2]]
        # Integer pixels are the same; mean and std are applied in float32 there and in float64 here.
        np.testing.assert_allclose(sample.feeds[specs[0].name], want, rtol=1e-6, atol=1e-6)
