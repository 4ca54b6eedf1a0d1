"""Allegro."""

from ._allegro import Allegro as Allegro
from ._size import AllegroSize as AllegroSize
