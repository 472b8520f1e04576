"""Each way in which a query can be wrong: what is said, and which characters are marked."""

from __future__ import annotations

import pytest

from deepseek_prof.errors import QueryError, UsageError
from deepseek_prof.query import Table, compile_query, compile_tree, parse
from deepseek_prof.query.parser import MAX_CLAUSES, MAX_DEPTH, MAX_LENGTH

# query, the line of carets below it, and what the message says
WRONG = [
    ("layr:x", "^^^^", 'unknown field "layr", did you mean "layer"?'),
    ("type:conv LAYER:x", "          ^^^^^", 'did you mean "layer"?'),
    ("thread:1", "^^^^^^", 'did you mean "tid"?'),
    ("dur_ns>1", "^^^^^^", 'did you mean "dur"?'),
    ("zzzz:1", "^^^^", "fields are op, type, layer"),
    ("type:matmull", "     ^^^^^^^", 'unknown type "matmull", did you mean "matmul"?'),
    ("phase:conv,bckward", "      ^^^^", "known are data, forward"),
    ("kind:q*", "     ^^", "unknown kind"),
    ("level>=warnin", "       ^^^^^^", 'did you mean "warning"?'),
    ("dur>1xs", "    ^^^", 'unknown unit, did you mean "s"? Units are ns, us, ms, s.'),
    ("bytes>1ms", "      ^^^", "unknown unit"),
    ("step>1ms", "     ^^^", "has no unit"),
    ("dur>ms", "    ^^", "not a number, such as 1.5ms"),
    ("dur>nan", "    ^^^", "not a number"),
    ("dur>inf", "    ^^^", "not a number"),
    ("dur>0x10", "    ^^^^", "unknown unit"),
    ("dur>1e400", "    ^^^^^", "too large"),
    ("dur>9223372036854775808", "    ^^^^^^^^^^^^^^^^^^^", "too large"),
    ("dur>9223372037s", "    ^^^^^^^^^^^", "too large"),
    ("flops>1e999999999", "      ^^^^^^^^^^^", "too large"),
    ("flops>1e-999999999", "      ^^^^^^^^^^^^", "too many digits"),
    ("dur>-5ms", "    ^^^^", "negative"),
    ("step:-3..2", "     ^^^^^", "negative"),
    ("step:20..10", "     ^^^^^^", "reversed"),
    ("dur:1s..1ms", "    ^^^^^^^", "reversed"),
    ("dur:1.2ns..1.8ns", "    ^^^^^^^^^^^^", "no whole number"),
    ("step:..", "     ^^", "no ends"),
    ("step:1..2..3", "     ^^^^^^^", "unit"),
    ("step:1.5", "     ^^^", "not a whole number"),
    ("dur:0.5ns", "    ^^^^^", "not a whole number of ns"),
    ("step:1*", "     ^^", "patterns are for text"),
    ("dur:>1ms", "    ^^^^", 'without the colon: "dur>value"'),
    ("dur>1..2", "    ^^^^", 'a range stands after a colon: "dur:first..last"'),
    ("dur>1ms,2ms", "        ^^^", "takes one value"),
    ("dur=5", "   ^", 'equality is written "dur:value"'),
    ("dur!=5", "   ^^", 'inequality is written "-dur:value"'),
    ("layer>3", "     ^", "text, which has no order"),
    ("layer:>3", "      ^^", "text, which has no order"),
    ("op:[abc", "   ^", "not closed"),
    ("op:x[z-a]", "     ^", "reversed"),
    ("op:a\\", "    ^", "nothing follows the backslash"),
    ("op:", "   ^", "a value is missing"),
    ("op:a,", "     ^", "a value is missing"),
    ("dur >", "     ^", "a value is missing"),
    ("op:,a", "   ^", "comma"),
    ("a,b", " ^", "comma"),
    ("(a", "  ^", 'a ")" is missing'),
    ("(", " ^", "a clause is missing"),
    ("()", " ^", "a clause is missing"),
    ("a)", " ^", 'there is no "(" to this ")"'),
    ("a or", "    ^", "a clause is missing"),
    ("or a", "^^", "a clause is missing"),
    ("a or or b", "     ^^", "a clause is missing"),
    ("a and and b", "      ^^^", "a clause is missing"),
    ("-", "^", 'after "-"'),
    ("- a", "^", 'after "-"'),
    ("a -", "  ^", 'after "-"'),
    ("--a", "^", "once"),
    ("not a", "^^^", 'negated with "-"'),
    ('""', "^^", "nothing to search for"),
    ('layer:"abc', "      ^", "not closed"),
    ("layer:'abc", "      ^", "not closed"),
    ('layer:"a"b', "      ^", "enclose whole values"),
    ('layer:a"b"', "       ^", "written in quotes"),
    ("don't", "   ^", "written in quotes"),
    ("op:foo(int)", "      ^", "parenthesis"),
    ("foo(int)", "   ^", "parenthesis"),
    (">5", "^", "a field is missing"),
    ("漢字 layr:x", "     ^^^^", "did you mean"),
]


@pytest.mark.parametrize(("query", "carets", "said"), WRONG)
def test_error_marks_the_place_and_says_what_is_wrong(query: str, carets: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        compile_query(query)
    problem, shown, marks = str(caught.value).split("\n")
    assert said in problem
    assert shown.rstrip() == f"  {query}"
    assert marks == f"  {carets}"
    assert query[caught.value.start : caught.value.end] or caught.value.start == len(query)


def test_query_errors_are_usage_errors_with_their_exit_status() -> None:
    assert issubclass(QueryError, UsageError)
    assert QueryError.exit_status == 2


def test_control_characters_of_a_query_are_not_repeated() -> None:
    with pytest.raises(QueryError) as caught:
        parse("op:\x1b]0;title\x07 layr:\x00\n")
    assert not set("\x1b\x07\x00") & set(str(caught.value))


def test_a_long_query_is_shown_around_the_place() -> None:
    with pytest.raises(QueryError) as caught:
        parse("a " * 300 + "layr:x" + " b" * 300)
    _, shown, marks = str(caught.value).split("\n")
    assert len(shown) < 120
    assert shown[marks.index("^") : marks.rindex("^") + 1] == "layr"


def test_bytes_that_are_no_text_are_an_error() -> None:
    with pytest.raises(QueryError, match="not valid UTF-8"):
        parse("op:\udcff")


def test_limits_hold_and_reach_as_far_as_they_say() -> None:
    deepest = "a"
    for _ in range((MAX_DEPTH - 1) // 2):
        deepest = f"(b or ({deepest} c))"
    parse(deepest)
    with pytest.raises(QueryError, match="nested too deeply"):
        parse(f"-(b -({deepest} c))")
    parse("(" * 10_000 + "a" + ")" * 10_000)
    parse(" ".join(["a"] * MAX_CLAUSES))
    with pytest.raises(QueryError, match=f"{MAX_CLAUSES + 1} clauses"):
        parse(" ".join(["a"] * (MAX_CLAUSES + 1)))
    parse("a" * MAX_LENGTH)
    with pytest.raises(QueryError, match="too long"):
        parse("a" * (MAX_LENGTH + 1))
    parse("op:" + "?" * 100)
    with pytest.raises(QueryError, match="100 wildcards"):
        parse("op:" + "?" * 101)


@pytest.mark.parametrize(
    ("query", "table"),
    [("a level:warning", Table.SPANS), ("-(msg:x)", Table.SPANS), ("rank:0 or dur>1", Table.LOGS)],
)
def test_field_that_a_view_lacks_is_an_error_where_that_view_alone_is_asked(query: str, table: Table) -> None:
    with pytest.raises(QueryError, match="no field"):
        compile_query(query, table)
    assert compile_tree(parse(query), table).sql
