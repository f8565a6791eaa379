-- Everything a spec file may use, in a file that passes: 14 tests run, 3 are skipped.
local log = {}
local function note(word)
  log[#log + 1] = word
end

describe("order", function()
  setup(function() note("setup") end)
  teardown(function() note("teardown") end)
  before_each(function() note("outer before") end)
  after_each(function() note("outer after") end)

  it("runs the setup and the outer hooks", function()
    assert.are.same({ "setup", "outer before" }, log)
  end)

  context("inside", function()
    note("body")
    lazy_setup(function() note("lazy setup") end)
    lazy_teardown(function() note("lazy teardown") end)
    before_each(function() note("inner before") end)
    after_each(function() note("inner after") end)

    it("runs outer hooks before inner ones", function()
      finally(function() note("finally") end)
      assert.are.same({ "setup", "outer before", "outer after", "body", "lazy setup",
        "outer before", "inner before" }, log)
    end)

    spec("ends with finally and the inner hooks", function()
      assert.are.same({ "finally", "inner after", "outer after", "outer before", "inner before" },
        { table.unpack(log, 8) })
    end)
  end)
end)

describe("after it", function()
  test("the block was torn down", function()
    assert.are.same({ "lazy teardown", "teardown" }, { log[#log - 1], log[#log] })
  end)
end)

describe("hooks that are never due", function()
  lazy_setup(function() error("a block without tests has no lazy setup") end)
  describe("and more", function() end)
end)

describe("what setup made", function()
  local list
  setup(function() list = { 1, 2 } end)
  describe("is there when inner bodies are read", function()
    for _, v in ipairs(list) do
      it("for " .. v, function() assert.is_number(v) end)
    end
  end)
end)

describe("skips", function()
  pending("has no body yet")
  pending("has a body that is not run", function() error("run") end)
  it("is told inside", function()
    pending("not today")
    error("not reached")
  end)
end)

describe("assert", function()
  it("compares", function()
    assert.are.equal(1, 1)
    assert.are_not.same({ 1 }, { 2 })
    assert.is_true(true)
    assert.is_nil(nil)
    assert.near(1.0, 1.05, 0.1)
    assert.matches("^a+$", "aaa")
    assert.has_error(function() error("x", 0) end, "x")
    assert.has_no.errors(function() end)
    assert.error_matches(function() error("a 12") end, "%d+")
  end)
  it("is callable", function() assert(true) end)
  it("raises something that tells its message", function()
    local ok, err = pcall(function() assert.is_true(false) end)
    assert.is_false(ok)
    assert.matches("Expected objects to be the same", tostring(err))
  end)
end)

describe("spies", function()
  it("are luassert's", function()
    local s = spy.new(function() return 7 end)
    assert.are.equal(7, s("x"))
    assert.spy(s).was.called_with("x")
    local t = { f = function() end }
    stub(t, "f").returns(3)
    assert.are.equal(3, t.f())
    assert.stub(t.f).was.called(1)
    assert.is_true(match.is_string()("s"))
    assert.is_table(mock({ g = function() end }))
  end)
end)

insulate("insulated", function()
  package.loaded["lethe.spec.fixture"] = {}
  it("sees its own modules", function()
    assert.is_table(package.loaded["lethe.spec.fixture"])
  end)
end)

describe("after insulate", function()
  it("they are gone #slow", function()
    assert.is_nil(package.loaded["lethe.spec.fixture"])
  end)
end)

it("may stand outside any block", function() end)

it "may be called with a name first" (function() end)
