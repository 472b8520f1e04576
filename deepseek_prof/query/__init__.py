"""The filter language: text to syntax tree, to SQL, to Python, back to text, and completed while it is typed.

The language itself is described in docs/query.md.
"""

from __future__ import annotations

from deepseek_prof.query.complete import Completion, complete, known_values
from deepseek_prof.query.evaluate import evaluate
from deepseek_prof.query.fields import FIELDS, Field, FieldType, Table
from deepseek_prof.query.parser import parse
from deepseek_prof.query.printer import explain, quoted, to_text
from deepseek_prof.query.sql import CompiledQuery, compile_query, compile_tree

__all__ = [
    "FIELDS",
    "CompiledQuery",
    "Completion",
    "Field",
    "FieldType",
    "Table",
    "compile_query",
    "compile_tree",
    "complete",
    "evaluate",
    "explain",
    "known_values",
    "parse",
    "quoted",
    "to_text",
]
