"""What has a page to play with: a run, a network, an ensemble."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arraymlp.pages.playground import ImageShape


class WithPage:
    """A base class of what predicts and can be played with in a browser."""

    def page(
        self,
        path: str | PathLike[str],
        *,
        title: str | None = None,
        examples: Any = None,
        image_shape: "ImageShape" = "auto",
    ) -> Path:
        """Write an HTML page in which to play with what predicts, and to see how it learned.

        One self-contained file: draw a digit, or move sliders, and each layer's units and the
        outputs follow. Of a run with ``snapshots=`` a slider goes through the epochs.

        Args:
            path: of the file.
            title: of the page.
            examples: rows to choose from, X or (X, y), at most 1000; None for up to 200 of a run's
                validation rows, or of its training rows where there are none. A network and an
                ensemble have none then.
            image_shape: (rows, columns) of images; "auto" for a square of 64 or more features
                without names; None for sliders.

        Raises:
            ValueError: it has a layer, an activation or a loss of the user's own, which the page
                cannot compute; or the examples or the image's shape do not fit it.
            OSError: the file cannot be written.
        """
        from arraymlp.pages.page import write_page

        return write_page(path, self, title=title, examples=examples, image_shape=image_shape)
