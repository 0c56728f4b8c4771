"""What a file says about its model: one view of the fields of GGUF and of ``config.json``."""

from dataclasses import dataclass

from .config import REQUIRED, ModelError, stored_fields

__all__ = ["Metadata"]


@dataclass(frozen=True)
class Metadata:
    """The fields of the file ``where`` by their keys.

    Parameters
    ----------
    form : ``gguf`` or ``hugging_face``: whose keys these are.
    values : the fields; None counts as absent where a field has a default.
    prefix : what each key has before it in the file.
    """

    where: object
    form: str
    values: dict
    prefix: str = ""

    def get(self, key):
        """The value of ``key``; :class:`ModelError` if the file has none."""
        key = self.prefix + key
        if key not in self.values:
            raise ModelError(f"{self.where}: {'field ' * (self.form == 'gguf')}{key} is missing")
        return self.values[key]

    def only(self, key, plain):
        """:class:`ModelError` if the file says of ``key`` anything but ``plain``, its value where absent."""
        key = self.prefix + key
        value = self.values.get(key)
        if value is not None and value != plain:
            raise ModelError(f"{self.where}: {key} {value!r} is not supported, only {plain!r}")

    def config(self, family, **known):
        """The checked configuration of a model of ``family``; ``known`` are the fields without keys."""
        values = {}
        for field in stored_fields(family.config_type):
            key, default = field.metadata[self.form], field.metadata["default"]
            if default is REQUIRED:
                value = self.get(key)
            else:
                value = self.values.get(self.prefix + key)
                if value is None:
                    value = default(values) if callable(default) else default
            values[field.name] = float(value) if field.type is float else value
        config = family.config_type(architecture=family.name, **values, **known)
        config.check(self.where)
        for key, plain in getattr(family, self.form)(config).items():
            self.only(key, plain)
        return config
