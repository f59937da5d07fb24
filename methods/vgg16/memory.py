"""Strips that keep an image's activations within memory."""

import torch

# Bytes of one conv1 activation in a strip. On the CPU each thread has some blocks of tiles to do in
# every layer of such a strip; a GPU wants large launches (not measured).
STRIP_BYTES_PER_THREAD = 24 * 2**20
GPU_STRIP_BYTES = 512 * 2**20
MIN_STRIP_BYTES = 2**20
ACTIVATIONS = 5  # held at once, in units of that one


def strip_bytes_within(available: int, device: torch.device) -> int:
    """Bytes of one conv1 activation in a strip, for `StreamedVgg16.maps`.

    Args:
        available: bytes for the activations of a strip. Where they are few, the strip is too
            small: less than `MIN_STRIP_BYTES`.
        device: where the network runs.
    """
    wanted = STRIP_BYTES_PER_THREAD * torch.get_num_threads()
    if device.type != "cpu":
        wanted = GPU_STRIP_BYTES
    return min(available // ACTIVATIONS, wanted)


def is_out_of_memory(error: Exception) -> bool:
    """Whether NumPy or PyTorch could not get memory, on the CPU or on a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
