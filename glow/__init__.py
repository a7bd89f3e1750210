"""Glow: an exact-likelihood image model (Kingma & Dhariwal 2018)."""

from glow.bits import bits_per_dim, dequantize, quantize, to_levels, to_pixels
from glow.checkpoint import load_glow, read_about, save_glow
from glow.config import GlowConfig
from glow.latents import Latents, interpolate
from glow.model import Encoding, Glow

__all__ = [
    "Encoding",
    "Glow",
    "GlowConfig",
    "Latents",
    "bits_per_dim",
    "dequantize",
    "interpolate",
    "load_glow",
    "quantize",
    "read_about",
    "save_glow",
    "to_levels",
    "to_pixels",
]
