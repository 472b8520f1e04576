"""The ``allocations`` view: one row a piece of tensor memory, from its allocation to its release, with what it held.

``role`` is, in this order: what the recorder noted of the address during the piece's life (``parameter, buffer,
gradient, optimizer``); ``input`` for what the data phase made; ``activation`` for what the forward pass made and was
alive when the next backward pass began; ``temporary`` for the rest of forward, backward and optimizer; ``other``.
A piece that is alive at the end has no ``end_ns``.
"""

from __future__ import annotations

ALLOCATIONS_VIEW = """
CREATE VIEW allocations AS
WITH pieces AS (
    SELECT * FROM (
        SELECT *, lead(ts_ns) OVER same AS end_ns, lead(tid) OVER same AS freed_tid, lead(event) OVER same AS next_event
        FROM raw_allocations WHERE event IN ('allocated', 'freed')
        WINDOW same AS (PARTITION BY rank, pid, device, address ORDER BY ts_ns))
    WHERE event = 'allocated'),
notes AS (
    SELECT p.rank, p.pid, p.device, p.address, p.ts_ns, arg_max(n.event, n.ts_ns) AS role,
        arg_max(n.context_id, n.ts_ns) AS owner_id
    FROM (SELECT * FROM raw_allocations WHERE event NOT IN ('allocated', 'freed')) n
    ASOF JOIN pieces p ON n.rank = p.rank AND n.pid = p.pid AND n.device = p.device AND n.address = p.address
        AND n.ts_ns >= p.ts_ns
    WHERE p.end_ns IS NULL OR n.ts_ns < p.end_ns
    GROUP BY ALL),
steps AS (
    SELECT rank, pid, start_ns, step FROM raw_spans
    WHERE context_id IN (SELECT context_id FROM process_contexts WHERE kind = 'step')),
backward AS (
    SELECT rank, pid, start_ns FROM raw_spans
    WHERE context_id IN (SELECT context_id FROM process_contexts WHERE kind = 'phase' AND name = 'backward'))
SELECT p.rank, p.pid, p.tid, s.step, c.phase, c.kind, c.name, c.type, coalesce(o.layer, c.layer) AS layer,
    p.ts_ns AS start_ns, p.end_ns, p.end_ns - p.ts_ns AS life_ns, p.size_bytes, p.device, p.address, p.freed_tid,
    CASE WHEN n.role IS NOT NULL THEN n.role
        WHEN c.phase = 'data' THEN 'input'
        WHEN c.phase = 'forward' AND b.start_ns IS NOT NULL AND (p.end_ns IS NULL OR p.end_ns > b.start_ns)
            THEN 'activation'
        WHEN c.phase IN ('forward', 'backward', 'optimizer') THEN 'temporary'
        ELSE 'other' END AS role,
    p.context_id
FROM pieces p
ASOF LEFT JOIN steps s ON p.rank = s.rank AND p.pid = s.pid AND p.ts_ns >= s.start_ns
ASOF LEFT JOIN backward b ON p.rank = b.rank AND p.pid = b.pid AND p.ts_ns <= b.start_ns
LEFT JOIN notes n ON p.rank = n.rank AND p.pid = n.pid AND p.device = n.device AND p.address = n.address
    AND p.ts_ns = n.ts_ns
LEFT JOIN process_contexts c ON p.rank = c.rank AND p.pid = c.pid AND p.context_id = c.context_id
LEFT JOIN process_contexts o ON n.rank = o.rank AND n.pid = o.pid AND n.owner_id = o.context_id;
"""
