-- Slots:edges: which imports hang on which exports, and which on anything else.
local vat = require "lethe.vat"

for _, engine in ipairs{ "lua", "manual" } do
  describe(("Slots:edges with engine %q"):format(engine), function()
    local slots, roots

    before_each(function()
      roots = {}
      slots = vat.slots{ engine = engine, roots = roots }
    end)

    after_each(function()
      slots:close()
    end)

    it("tells an export's imports from those that a register holds", function()
      local object = { field = { slots:import("o-1") } }
      slots:export(object)
      roots.r1 = { slots:import("o-2") }
      assert.are.same({ roots = { "o-2" }, exports = { ["o+10"] = { "o-1" } } }, slots:edges())
      roots.r2 = object
      assert.are.same({ roots = { "o-1", "o-2" }, exports = { ["o+10"] = {} } }, slots:edges())
    end)

    it("follows each export by itself, and names come sorted by bytes", function()
      local shared = slots:import("o-10")
      local a, b = { shared, slots:import("o-9") }, { shared }
      b.a = a
      slots:export(a)
      slots:export(b)
      assert.are.same({ roots = {}, exports = {
        ["o+10"] = { "o-10", "o-9" }, ["o+11"] = { "o-10", "o-9" },
      } }, slots:edges())
    end)

    it("does not follow what the kernel has dropped", function()
      local object = { slots:import("o-1") }
      roots.r1 = object
      slots:export(object)
      slots:drop_exports{ "o+10" }
      assert.are.same({ roots = { "o-1" }, exports = {} }, slots:edges())
      roots.r1 = nil
      assert.are.same({ roots = {}, exports = {} }, slots:edges())
    end)

    it("counts the root object and a promise as roots", function()
      slots:root{ slots:import("o-1") }
      slots:export{ slots:import("o-2"), slots:import("p-1") }
      assert.are.same({ roots = { "o-1" }, exports = { ["o+10"] = { "o-2" } } }, slots:edges())
    end)
  end)
end
