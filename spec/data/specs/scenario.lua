-- A scenario that fails, with the seed in its message.
local scenario = require("lethe.spec").scenario
it("fails in a scenario", scenario(function(s)
  local f = function() assert.are.equal(1, s:seed() and 2) end
  f()
end))
it("errs in a scenario", scenario(function() error("boom") end))
it("skips in a scenario", scenario(function() pending("because") end))
