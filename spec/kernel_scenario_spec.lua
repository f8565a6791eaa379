-- Scenarios with kernels: s:kernel, s:collect, and what a test can ask about imports.
local raw_vats = require "spec.support.raw_vats"
local scenario = require("lethe.spec").scenario

describe("a scenario's kernel", function()
  it("is on the scenario's loop, and closed with it", function()
    local kept, clock
    scenario(function(s)
      kept = s:kernel{ reap_at = 5 }
      clock = s.loop
      local v = raw_vats.add(kept, "v")
      s.loop:timer(60, function() v:act(function() end) end)
      s:advance(60)
      assert.are.equal("deliver o+0 act() p-1", v:news())
    end)()
    assert.has_error(function() kept:run() end)
    assert.has_error(function() clock:now() end)
  end)

  it("tells who holds what, and what was said of the dead", scenario(function(s)
    local k = s:kernel()
    local a, b = raw_vats.add(k, "a"), raw_vats.add(k, "b")
    local name
    do name = b:gets(a:object("o+1")) end
    s:collect() -- the host lets go
    assert.are.same({ [name] = "reachable" }, s:imports(k, "b"))
    assert.are.same({ ["o+1"] = "reachable" }, s:exports(k, "a"))
    b.dead = function(syscall) syscall.dropImports{ name } end
    s:collect()
    assert.are.same({ [name] = "recognizable" }, s:imports(k, "b"))
    assert.are.same({ ["o+1"] = "recognizable" }, s:exports(k, "a"))
    b.dead = function(syscall) syscall.retireImports{ name } end
    s:collect()
    assert.are.same({ {}, {} }, { s:imports(k, "b"), s:exports(k, "a") })
    assert.are.same({ "dropImports o-1", "retireImports o-1" }, s:collected(k, "b"))
    assert.are.same({ "dispatch.dropExports o+1", "dispatch.retireExports o+1" },
      s:collected(k, "a"))
  end))

  it("is collected without delivering a message", scenario(function(s)
    local k = s:kernel()
    local v = raw_vats.add(k, "v")
    local promise = k:send(v.root, "act")
    s:collect()
    assert.are.equal("pending", promise:state())
    assert.are.equal("bring_out_your_dead", v:news())
  end))

  it("is collected to an end, though a vat never comes to rest", scenario(function(s)
    local k = s:kernel()
    local n = 0
    k:raw_vat("restless", function(syscall)
      return { bring_out_your_dead = function()
        n = n + 1
        syscall.send("o+0", "again")
      end }
    end)
    s:collect()
    assert.are.equal(200, n)
  end))

  it("may be closed before the scenario ends", scenario(function(s)
    s:kernel():close()
    s:collect()
  end))
end)
