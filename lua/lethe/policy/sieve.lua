-- sieve (Zhang et al., NSDI 2024): hits mark and move nothing; a hand goes from the back to the
-- front and over again, clears marks, and takes the first entry that has none.
return {
  name = "sieve",
  init = function(c)
    c.main = c:queue("main")
  end,
  on_hit = function(c, h)
    c:mark(h, true)
  end,
  on_evict = function(c)
    local victim
    victim, c.hand = c.main:scan(c.hand)
    return victim
  end,
  export = function(c)
    return { name = "sieve", hand = c.hand }
  end,
  import = function(c, t)
    if t.name == "sieve" then c.hand = t.hand end
  end,
}
