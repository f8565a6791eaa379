-- The policy of together.lua: who holds much, and has not been asked much, goes first. As a file it
-- runs in a state of its own, on whichever thread a pass is.
return {
  score = function(c)
    return c.used / (1 + c.reclaims) / (1 + c.priority)
  end,
}
