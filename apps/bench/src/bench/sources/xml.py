"""Checks XML files for entity declarations."""

from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from bench.exceptions import BenchError, one_line
from bench.sources.decompression import open_decompressed


class _FirstElement(Exception):
    """Raised at the first element: XML has no entity declarations after it."""


def check_no_entities(path: Path) -> None:
    """Checks that an XML file declares no entities.

    Entities can expand without limit, or include other files.

    Args:
        path: path of the file, which may be compressed.

    Raises:
        BenchError: it declares an entity, or is not XML.
    """

    def reject(name: str, *_) -> NoReturn:
        raise BenchError(
            f"{path} is rejected: it declares the entity {name[:40]!r}, which no "
            "output of VASP does; an entity may include another file or any amount of "
            "text."
        )

    def stop(*_) -> NoReturn:
        raise _FirstElement

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = reject
    parser.StartElementHandler = stop
    with open_decompressed(path) as file:
        try:
            parser.ParseFile(file)
        except _FirstElement:
            return
        except expat.ExpatError as error:
            raise BenchError(
                f"{path} cannot be read as XML ({one_line(error)}): check that it is "
                "complete."
            ) from error
