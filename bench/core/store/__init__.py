"""What is fetched or made once and kept. The only place that talks to the hub and to the package index.

Read `cache` first: where things lie, and how they are checked. `assets` takes files out of wheels that `wheels` has
downloaded, `joined` puts files together that were cut into parts, `hub` asks the Hugging Face hub, `conversion` keeps
what was made of any of them, `room` says whether a disk has room for it all, `locks` who is at work, `weight_files`
which files of a checkpoint hold weights; `preparable` is what tasks, scorers and sources of text have in common.

May import: core.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "assets": ["PypiFile", "describe_missing", "fetch"],
        "cache": ["file_sha256", "home"],
        "conversion": ["converted_path", "make_once"],
        "hub": ["current_commit", "download", "load_rows"],
        "joined": ["JoinedFile", "fetch_whole"],
        "locks": ["claim"],
        "preparable": ["Preparable"],
        "wheels": ["download_wheel"],
    },
)
