-- Regressions by name: what the model of the epoch manager gets wrong (B1 to B8), from Lua, and the
-- rows of its behaviour that ours answers in another way. The C side has its own.
local errors = require "spec.support.errors"
local epoch = require "lethe.epoch"

local at_its_line, code_of = errors.at_its_line, errors.code_of

local function ignore() end

describe("defect", function()
  local m, h

  before_each(function()
    m = epoch.new{ mode = "manual" }
    h = m:register()
  end)

  after_each(function()
    h:unregister()
    m:close()
  end)

  -- A reader that pins, sleeps and then says what unpin told it.
  local function reader()
    local read = coroutine.wrap(function()
      local g = h:pin()
      coroutine.yield()
      return g:unpin()
    end)
    read()
    return read
  end

  it("B1: neutralizing is no use after free: the reader is told, and holds nothing raw", function()
    local destroyed = false
    local read = reader()
    h:with_pin(function(g) g:retire({}, function() destroyed = true end) end)
    for _ = 1, 4 do
      m:advance()
    end
    assert.are.same({ 1, 1, true }, { m:neutralize(2), h:reclaim(), destroyed })
    assert.are.equal("neutralized", code_of(read()))
  end)

  it("B2: all bags are destroyed with the manager, not the newest alone", function()
    local n = 0
    h:with_pin(function(g)
      for i = 1, 133 do
        g:retire(i, function() n = n + 1 end)
      end
    end)
    m:close()
    h:unregister()
    assert.are.equal(133, n)
  end)

  it("B3: a destructor may retire into the bag that is being reclaimed, and reclaim", function()
    local runs = {}
    local function count(v)
      runs[v] = (runs[v] or 0) + 1
    end
    h:with_pin(function(g)
      for i = 1, 10 do
        g:retire(i, function(v)
          count(v)
          h:with_pin(function(inner) inner:retire(v + 100, count) end)
          h:reclaim()
        end)
      end
    end)
    for _ = 1, 6 do
      m:advance()
      h:reclaim()
    end
    for i = 1, 10 do
      assert.are.same({ 1, 1 }, { runs[i], runs[i + 100] })
    end
    assert.are.same({ 20, 20, 0 }, { m:stats().retired, m:stats().reclaimed, h:limbo() })
  end)

  it("B4: whoever unregisters or ends while pinned holds nobody back", function()
    h:pin()
    m:advance()
    h:unregister()
    assert.are.equal(2, m:safe_epoch())
    require("lethe.worker").spawn(function(manager)
      manager:register():pin()
      manager:advance()
    end, m):join()
    assert.are.same({ 3, {} }, { m:safe_epoch(), m:stats().threads })
  end)

  it("B5: what is left in limbo is an orphan, not the next thread's by accident", function()
    h:with_pin(function(g) g:retire(1, ignore) end)
    h:unregister()
    h = m:register()
    assert.are.same({ 0, 1, 1 }, { h:limbo(), m:stats().orphans, m:stats().limbo })
    m:advance()
    m:advance()
    assert.are.equal(1, h:reclaim())
  end)

  it("B6: managers do not unpin each other's readers", function()
    local other <close> = epoch.new{ mode = "manual" }
    local theirs = other:register()
    local mine, g = h:pin(), theirs:pin()
    for _ = 1, 5 do
      m:advance()
      other:advance()
    end
    coroutine.wrap(function() m:neutralize(0) end)()
    assert.are.same({ true, false }, { h:neutralized(), theirs:neutralized() })
    assert.are.equal("neutralized", code_of(mine:unpin()))
    assert.is_true(g:unpin())
  end)

  it("B7: an ejection never strikes the pin after the one it was for", function()
    for _ = 1, 20 do
      local read = reader()
      for _ = 1, 4 do
        m:advance()
      end
      assert.are.equal(1, m:neutralize(2))
      assert.are.equal("neutralized", code_of(read()))
      local g = h:pin()
      assert.is_false(h:neutralized())
      assert.is_true(g:unpin())
    end
  end)

  it("B8: there may be more threads than bits in a word, and a thread registers once", function()
    assert.are.equal("already_registered", code_of(m:register()))
    local wide <close> = epoch.new{ max_threads = 100 }
    local mine = wide:register()
    assert.are.equal("already_registered", code_of(wide:register()))
    assert.is_false(mine:pinned())
    assert.are.equal(1, #wide:stats().threads)
  end)
end)

describe("unlike its model, ours", function()
  it("rows 2 to 4: closes a manager whose clients are still there", function()
    local m = epoch.new{ mode = "manual" }
    local h = m:register()
    assert.is_true(m:close())
    assert.is_true(h:pin():unpin())
    assert.is_true(h:unregister())
  end)

  it("rows 6 and 7: tells a stale handle, and drains what it leaves", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    h:with_pin(function(g) g:retire(1, ignore) end)
    h:unregister()
    local next_owner = m:register()
    assert.are.equal("attempt to use a closed lethe.epoch.Handle",
      at_its_line(function() h:pin() end))
    assert.is_false(next_owner:pinned())
    assert.are.equal(1, m:stats().orphans)
  end)

  it("rows 11 and 13: nests, and does not hide a neutralization", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    assert.is_true(h:with_pin(function() return h:with_pin(function() return true end) end))
    assert.are.equal("neutralized", code_of(h:with_pin(function(g)
      g:retire(1, nil)
      m:advance()
      coroutine.wrap(function() m:neutralize(0) end)()
    end)))
  end)

  it("row 27: counts what it ejects, once", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    local g = h:pin()
    m:advance()
    local function neutralize()
      return coroutine.wrap(function() return m:neutralize(0) end)()
    end
    assert.are.same({ 1, 0, 1 }, { neutralize(), neutralize(), m:stats().ejections })
    g:unpin()
  end)

  it("rows 29 and 30: needs neither a signal nor a manager of the process", function()
    local a <close> = epoch.new()
    local b <close> = epoch.new()
    assert.is_true(a:register():pin():unpin())
    assert.is_true(b:register():pin():unpin())
  end)
end)
