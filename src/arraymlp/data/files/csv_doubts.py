"""What can be said against a CSV file only when all of its rows have been read."""

from collections.abc import Mapping, Sequence

from arraymlp.data.files.cells import WITH_COMMAS, is_number
from arraymlp.data.files.csv_layout import DOUBTFUL, Layout
from arraymlp.data.frames.frame import Column, Texts


class Doubts:
    """What speaks against a file, gathered as it is read.

    - A first line with numbers and words may have been taken wrongly: as names like ``0,1,red``,
      where red is found below, too; or as a row like ``2019,2020,species``, no word of which is
      found again.
    - Numbers with commas, for the decimal point or between thousands, are no words.
    """

    def __init__(self, layout: Layout, columns: Sequence[int]) -> None:
        self._names, self._has_names = layout.names, layout.header_lines > 0
        self._numbered = self._has_names and any(map(is_number, layout.names))
        self._commas = dict.fromkeys(columns, False)  # of columns whose texts all may be numbers
        self._words: dict[int, str] = {}  # of the first line, in columns of texts
        self._found: dict[int, int] = {}  # how often each has been found
        self._rows = 0

    def look(self, columns: Mapping[int, Column]) -> None:
        """See the values of some rows, by the number of their column."""
        for i, column in columns.items():
            if isinstance(column, Texts):
                self._look_for_commas(i, column)
                self._look_for_words(i, column)
        self._rows += len(next(iter(columns.values())))

    def _look_for_commas(self, i: int, column: Texts) -> None:
        for value in column.values if i in self._commas else ():
            if WITH_COMMAS.fullmatch(value):
                self._commas[i] = True
            elif not is_number(value):
                del self._commas[i]
                return

    def _look_for_words(self, i: int, column: Texts) -> None:
        if self._rows == 0 and not self._has_names and column.codes[0] >= 0:
            word = column.values[column.codes[0]]
            if not is_number(word):
                self._words[i] = word
        elif self._rows == 0 and self._numbered:
            self._words[i] = self._names[i]
        if i in self._words and self._words[i] in column.values:
            code = column.values.index(self._words[i])
            self._found[i] = self._found.get(i, 0) + int((column.codes == code).sum())

    def raise_if_any(self) -> None:
        """Raise a ValueError for what has been found."""
        if self._has_names and any(self._found.values()):
            raise ValueError(DOUBTFUL)
        words = self._words if not self._has_names and self._rows > 2 else ()
        if words and all(self._found[i] == 1 for i in words):
            raise ValueError(DOUBTFUL)
        for i, found in self._commas.items():
            if found:
                name = self._names[i]
                raise ValueError(f"column {name!r} has numbers with commas, which are not read")
