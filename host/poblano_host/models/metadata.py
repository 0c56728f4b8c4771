"""What a file says about its model: one view of the fields of GGUF and of ``config.json``."""

from dataclasses import dataclass

from .config import REQUIRED, ModelError, stored_fields
from .rope import GGUF_KEYS, RopeScaling

__all__ = ["Metadata", "hugging_face_rope"]


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
            raise ModelError(f"{self.where}: {key} {_short(value)} is not supported, only {_short(plain)}")

    def config(self, family, *, divisors=None, **known):
        """The checked configuration of a model of ``family``; ``known`` are the fields without keys,
        ``divisors`` the tensors of :data:`.rope.GGUF_TENSORS` that the file has.

        :class:`ModelError` names a field that the family does not know, unless it is empty, zero or false.
        """
        fields, values = self._own(family), {}
        for field in stored_fields(family.config_type):
            key, default = field.metadata[self.form], field.metadata["default"]
            if default is REQUIRED:
                value = fields[key] if key in fields else self.get(key)
            else:
                value = None if key is None else fields.get(key)
                if value is None:
                    value = default(values) if callable(default) else default
            values[field.name] = float(value) if field.type is float else value
        rope = self._rope(fields, values["context"], divisors or {})
        if rope.kind == "longrope":
            values["context"] = rope.original_context
        config = family.config_type(architecture=family.name, rope=rope, **values, **known)
        config.check(self.where)
        plain = getattr(family, self.form)(config)
        for key, value in plain.items():
            self.only(key, value)
        read = {field.metadata[self.form] for field in stored_fields(family.config_type)}
        read |= {*plain, *(GGUF_KEYS if self.form == "gguf" else ("rope_scaling", "rope_parameters"))}
        for key, value in fields.items():
            if value and key not in read and not family.ignores(self.form, key):
                raise ModelError(
                    f"{self.where}: {family.name} with {self.prefix}{key} {_short(value)} is not supported"
                )
        return config

    def _own(self, family):
        """The architecture's fields by their keys without the prefix, as the family wants them."""
        own = {k[len(self.prefix) :]: v for k, v in self.values.items() if k.startswith(self.prefix)}
        return own if family.normalise is None else family.normalise(self.where, self.form, own)

    def _rope(self, fields, context, divisors):
        if self.form == "gguf":
            return RopeScaling.of_gguf(self.where, fields, context, divisors)
        rope, original = hugging_face_rope(self.where, fields), fields.get("original_max_position_embeddings")
        return RopeScaling.of_hugging_face(self.where, rope, context, original)


def hugging_face_rope(where, fields):
    """The fields of RoPE's own in those of ``config.json``."""
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelError(f"{where}: RoPE scaling {_short(rope)} is not supported")
    return rope


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
