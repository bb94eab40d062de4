"""The plainest sealer and opener there can be: one value at a time, nothing shared with the real one."""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.schema import compile_schema


def contract(schema, **settings):
    """A contract over `schema` (a dict) with the given settings; keys default to `id` and `$arrival`."""
    values = {
        "contract": "acme/test/1.0.0",
        "state": "active",
        "schema": "test.schema.json",
        "time_field": "$arrival",
        "key_field": "id",
    } | settings
    return Contract.model_validate({**values, "json_schema": schema, "record": compile_schema(schema).record})


class PlainSealer:
    """Keys are made from the numbers of people and data keys."""

    def pseudonyms(self, domain, values, subjects):
        who = ["everybody"] * len(values) if subjects is None else subjects.tolist()
        return [
            hmac.digest(f"{domain} {subject}".encode(), value, "sha256")
            for value, subject in zip(values, who, strict=True)
        ]

    def hashes(self, function, values):
        return [hashlib.new(function.replace("-", ""), value + b"pepper123").digest() for value in values]

    def _cipher(self, level, key):
        return AESSIV(hashlib.sha512(f"{level} {key}".encode()).digest())

    def seal(self, columns):
        return [
            [
                b"\x01\0\0\0\0" + self._cipher(column.level, key).encrypt(value, [column.associated_data])
                for value, key in zip(column.values, column.data_keys.tolist(), strict=True)
            ]
            for column in columns
        ]

    def open(self, columns):
        return [
            [
                self._cipher(column.level, key).decrypt(value[5:], [column.associated_data])
                for value, key in zip(column.values, column.data_keys.tolist(), strict=True)
            ]
            for column in columns
        ]

    def rekey(self, pseudonyms):
        return [hashlib.sha256(b"rekeyed" + pseudonym).digest() for pseudonym in pseudonyms]

    def outer_seal(self, associated_data, ciphertexts):
        cipher = AESSIV(bytes(64))
        return [b"\x01\0\0\0\0" + cipher.encrypt(text, [associated_data]) for text in ciphertexts]
