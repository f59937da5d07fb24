"""Images as VGG16 was trained on them."""

import numpy as np
import numpy.typing as npt

from d2eval.foundation.images.decoding import RgbImage

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
TORCH_STD_RGB = (0.229, 0.224, 0.225)


def preprocess(image: RgbImage, how: str) -> npt.NDArray[np.float32]:
    """(H, W, 3) RGB bytes to (H, W, 3) float32 as VGG16 was trained.

    "caffe": BGR in 0..255 minus the mean; "torch": RGB in 0..1, minus mean, over deviation.
    """
    values = np.arange(256, dtype=np.float64)[:, None]
    if how == "caffe":
        image, table = image[:, :, ::-1], values - np.array(CAFFE_MEAN_BGR)
    else:
        table = (values / 255 - np.array(TORCH_MEAN_RGB)) / np.array(TORCH_STD_RGB)
    # The authors compute in float64 and round once; a table does it for each of 256 values.
    single = table.astype(np.float32)
    pixels = np.empty(image.shape, np.float32)
    for channel in range(3):
        np.take(single[:, channel], image[:, :, channel], out=pixels[:, :, channel])
    return pixels
