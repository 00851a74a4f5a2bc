"""Files of an archive, sealed as the gallery's rows are: each under a key of its own, which is
sealed with the gallery's key (Apache Parquet modular encryption, AES-256-GCM)."""

from __future__ import annotations

import base64
from datetime import timedelta
from functools import cached_property
from typing import Any

from jetson_face.core.errors import GalleryError, InputBrokenError
from jetson_face.core.protocols import Cipher

_KEY = "jetson-face-archive"
_CHECK = b"jetson-face archive"


class ArchiveSeal:
    """Encryption of an archive's Parquet files; `cipher` None: they stay in the clear.

    archive: its id, which every data key is bound to.
    """

    def __init__(self, cipher: Cipher | None, archive: str) -> None:
        self._cipher, self._context = cipher, f"archive/{archive}/data key".encode()
        self._made: Any = None

    @property
    def sealed(self) -> bool:
        """Files are encrypted."""
        return self._cipher is not None

    def check_text(self) -> str:
        """What a new archive remembers of its key, as hex; "" in the clear."""
        return "" if self._cipher is None else self._cipher.encrypt(_CHECK, self._context).hex()

    def check(self, remembered: str, where: str) -> None:
        """Refuse an archive that was made with another key, or with none. Raises GalleryError."""
        if self._cipher is None:
            if remembered:
                raise GalleryError(f"{where}: the archive is encrypted: set gallery.encrypt")
            return
        if not remembered:
            raise GalleryError(
                f"{where}: the archive is not encrypted but gallery.encrypt is on: turn it off for "
                "this archive, or index into a new one"
            )
        try:
            self._cipher.decrypt(bytes.fromhex(remembered), self._context)
        except (GalleryError, ValueError) as error:
            raise GalleryError(f"{where}: {error}") from None

    def writing(self) -> Any:
        """`encryption_properties` for a file; None in the clear."""
        if self._cipher is None:
            return None
        from pyarrow.parquet import encryption

        wanted = encryption.EncryptionConfiguration(
            footer_key=_KEY,
            uniform_encryption=True,
            double_wrapping=False,
            data_key_length_bits=256,
            cache_lifetime=timedelta(minutes=5),
        )
        return self._factory(self._cipher).file_encryption_properties(self._connection, wanted)

    def reading(self) -> Any:
        """`decryption_properties` for a file; None in the clear."""
        if self._cipher is None:
            return None
        from pyarrow.parquet import encryption

        return self._factory(self._cipher).file_decryption_properties(
            self._connection,
            encryption.DecryptionConfiguration(cache_lifetime=timedelta(minutes=5)),
        )

    @cached_property
    def _connection(self) -> Any:
        from pyarrow.parquet import encryption

        return encryption.KmsConnectionConfig()

    def _factory(self, cipher: Cipher) -> Any:
        """Kept: it remembers the keys that it opened last."""
        if self._made is not None:
            return self._made
        from pyarrow.parquet import encryption

        context = self._context

        class GalleryKey(encryption.KmsClient):  # type: ignore[misc]
            """Seals the files' own keys; nothing leaves this process."""

            def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
                """See KmsClient."""
                return base64.b64encode(cipher.encrypt(key_bytes, context))

            def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
                """See KmsClient."""
                return cipher.decrypt(base64.b64decode(wrapped_key), context)

        self._made = encryption.CryptoFactory(lambda connection: GalleryKey())
        return self._made


def damaged(where: str, error: Exception) -> InputBrokenError:
    """A file of an archive that cannot be read."""
    why = str(error).split("\n")[0][:120]
    return InputBrokenError(f"{where}: a file of the archive is damaged ({why}): restore it")
