"""XML that declares nothing."""

from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from bench.exceptions import BenchError, one_line
from bench.sources.limits import unpacked


class _Begun(Exception):
    """The first element has come: nothing can be declared behind it."""


def check_entities(path: Path) -> None:
    """Refuses XML that declares entities: they grow when read, or name other files.

    Args:
        path: of the file, which may be compressed.

    Raises:
        BenchError: it declares one, or is no XML from its beginning on.
    """

    def declared(name: str, *_) -> NoReturn:
        raise BenchError(
            f"{path} is refused: it declares the entity {name[:40]!r}, which no output "
            "of VASP does; an entity may stand for another file or for any amount of "
            "text."
        )

    def begun(*_) -> NoReturn:
        raise _Begun

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = declared
    parser.StartElementHandler = begun
    with unpacked(path) as file:
        try:
            parser.ParseFile(file)
        except _Begun:
            return
        except expat.ExpatError as error:
            raise BenchError(
                f"{path} cannot be read as XML ({one_line(error)}): check that it is "
                "complete."
            ) from error
