-- hyperbolic (Blankstein, Sen and Freedman, ATC 2017): of 64 entries drawn the one with the least
-- accesses per age leaves. Such a score falls while nobody asks, so it is computed at eviction.
-- "cells" draws as the published simulator does out of its hash table: what is old may be hidden.
return { name = "hyperbolic", score = "freq / (age + 1)", index = "cells:64" }
