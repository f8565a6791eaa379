-- gdsf, GreedyDual-Size with frequency (Cherkasova, 1998): what is small and often asked for stays.
-- L, the score of the last victim, rises: what is not asked for any more sinks below what is. Where
-- what a miss costs differs, multiply freq by cost.
return { name = "gdsf", score = "L + freq * 1e6 / max(size, 1)" }
