"""A published snapshot as engines read it: its lines, whole generations, and what may be acted on.

Put here: live.jsonl in memory and the rules of what it still allows. Keep out: what trades by it
(trading/), the v5.10 calls over it (v510/). The program's own reader is live.reader.
"""
