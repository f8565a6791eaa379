-- The slot tables of one vat, through their Lua face: names, bodies, and what is said of the dead.
local vat = require "lethe.vat"
local errors = require "spec.support.errors"

describe("vat.slots", function()
  local said, slots

  local function syscalls()
    said = {}
    local calls = {}
    for _, name in ipairs{ "dropImports", "retireImports", "retireExports" } do
      calls[name] = function(list) said[#said + 1] = name .. " " .. table.concat(list, " ") end
    end
    return calls
  end

  before_each(function()
    slots = vat.slots{ syscall = syscalls() }
  end)

  after_each(function()
    slots:close()
    slots = nil
  end)

  it("gives a name one object as long as that lives", function()
    local alice = slots:import("o-1")
    assert.are.equal(alice, slots:import("o-1"))
    assert.are.equal(alice, slots:val("o-1"))
    assert.are.equal("o-1", slots:slot(alice))
    assert.are.equal("REACHABLE", slots:state("o-1"))
    assert.is_nil(slots:val("o-2"))
    assert.is_nil(slots:slot({}))
    assert.are.equal("UNKNOWN", slots:state("o-2"))
  end)

  it("says what died only when it is told to bring out the dead, sorted by bytes", function()
    for _, vref in ipairs{ "o-2", "o-10", "o-1" } do
      slots:import(vref)
    end
    collectgarbage()
    collectgarbage()
    assert.are.same({}, said)
    assert.is_true(slots:bring_out_your_dead())
    assert.are.same({ "dropImports o-1 o-10 o-2", "retireImports o-1 o-10 o-2" }, said)
    assert.is_true(slots:bring_out_your_dead())
    assert.are.equal(2, #said)
  end)

  it("names what leaves, and holds it until the kernel drops it", function()
    local object = {}
    assert.are.equal("o+10", slots:export(object))
    assert.are.equal("o+10", slots:export(object))
    object = nil
    slots:bring_out_your_dead()
    assert.is_table(slots:val("o+10"))
    slots:drop_exports{ "o+10" }
    slots:bring_out_your_dead()
    assert.are.same({ "retireExports o+10" }, said)
    assert.is_nil(object)
  end)

  it("refuses what is no vref", function()
    for _, text in ipairs{ "", "o", "o-", "x-1", "o*1", "o-01", "o-1/2", "o+d1", "o+v3/4:", "o-1|2",
      "o-1 ", "o+1,2", "o-1234567890123456" } do
      local quoted = text:gsub("%p", "%%%0")
      assert.matches('^bad argument #1 to \'import\' %("' .. quoted .. '" is no vref',
        errors.at_its_line(function() slots:import(text) end))
    end
  end)
end)
