-- A pattern that takes the C library's matcher ages, in one instruction.
local subject = ("a"):rep(26)
local source = ("a?"):rep(26) .. subject
return {
  budget = 300000,
  on_evict = function(c)
    string.find(subject, source)
    return c:queue("main"):front()
  end,
}
