-- lethe.vat.marshal: values as text, and back.
local marshal = require "lethe.vat.marshal"

local ALICE <const>, BOB <const> = io.stdout, io.stderr -- any two userdata
local NAMES <const> = { [ALICE] = "o-1", [BOB] = "o-10" }
local OBJECTS <const> = { ["o-1"] = ALICE, ["o-10"] = BOB }

local function slot_of(value)
  return NAMES[value]
end

local function value_of(name)
  return OBJECTS[name]
end

local function encode(...)
  return marshal.encode(table.pack(...), slot_of, "argument")
end

local function round(...)
  local text, slots = encode(...)
  local values = marshal.decode(text, slots, value_of, true)
  assert.are.equal(text, (marshal.encode(values, slot_of)))
  return values
end

describe("marshalled values", function()
  it("are one line of printable ASCII", function()
    local text, slots = encode("pay", { 5, to = BOB }, nil, 1.0)
    assert.are.equal('="pay",@1,nil,1.0|{5;"to"=$1}', text)
    assert.are.same({ "o-10" }, slots)
    assert.are.equal('="\\x00\\x0A\\x22\\x5C\\xFF~"', (encode("\0\n\"\\\255~")))
    assert.are.equal("=", (encode()))
  end)

  it("come back as they were, with their number", function()
    local values = round(nil, true, false, "\0\255|{};,=$1", 1, 1.0, math.mininteger, nil)
    assert.are.equal(8, values.n)
    assert.are.same({ true, false, "\0\255|{};,=$1" }, { values[2], values[3], values[4] })
    assert.are.equal("integer", math.type(values[5]))
    assert.are.equal("float", math.type(values[6]))
    assert.are.equal(math.mininteger, values[7])
  end)

  it("keep every bit of a number", function()
    for _, n in ipairs{ 0.1, 1 / 3, 2 ^ 53, 1e300, 5e-324, 1 / 0, -1 / 0, math.maxinteger } do
      assert.are.equal(n, round(n)[1])
    end
    local zero, nan = round(-0.0, 0 / 0)[1], round(0 / 0)[1]
    assert.are.equal(-1 / 0, 1 / zero)
    assert.is_true(nan ~= nan)
  end)

  it("keep cycles and sharing", function()
    local shared = { 1 }
    local t = { shared, shared }
    t.me = t
    local back = round(t, shared)
    assert.are.equal(back[1], back[1].me)
    assert.are.equal(back[1][1], back[1][2])
    assert.are.equal(back[2], back[1][1])
  end)

  it("do not depend on the order in which keys were set", function()
    local keys = { 1, 2, 4, -1, 2.5, "a", "b", "ä", "", true, false, ALICE, BOB }
    local function build(first, last, step)
      local t = {}
      for i = first, last, step do t[keys[i]] = i end
      return (encode(t))
    end
    assert.are.equal(build(1, #keys, 1), build(#keys, 1, -1))
  end)

  it("nest as deep as they like", function()
    local list
    for i = 1, 20000 do list = { i, list } end
    local back = round(list)[1]
    for i = 20000, 1, -1 do
      assert.are.equal(i, back[1])
      back = back[2]
    end
  end)

  it("list each object once, in order of first appearance", function()
    local text, slots = encode(BOB, { ALICE, BOB }, ALICE)
    assert.are.equal("=$1,@1,$2|{$2,$1}", text)
    assert.are.same({ "o-10", "o-1" }, slots)
    assert.are.equal(ALICE, round(BOB, ALICE)[2])
  end)

  it("are refused with the path to what cannot go", function()
    local _, message = pcall(encode, 1, { a = { b = { print } } })
    assert.are.equal("argument #2.a.b[1] is a function, which cannot be sent", message)
    _, message = pcall(encode, { [{}] = 1 })
    assert.are.equal("argument has a key that is a table", message)
    _, message = pcall(encode, coroutine.create(print))
    assert.are.equal("argument is a thread, which cannot be sent", message)
  end)

  it("do not ask metatables", function()
    local t = setmetatable({ 1 }, { __index = error, __len = error, __pairs = error })
    assert.are.same({ 1 }, round(t)[1])
  end)
end)

describe("data in another form", function()
  local function decode(...)
    local values = marshal.decode(...)
    local n = values.n
    values.n = nil
    return values, n
  end

  it("stands for itself", function()
    assert.are.same({ "hello" }, (decode("hello", {})))
    assert.are.same({ 5 }, (decode(5, { "o-1" }, nil, false)))
    assert.are.same({ 5, "o-1" }, (decode(5, { "o-1" }, nil, true)))
    assert.are.same({ 1, 2, "o-1" }, (decode({ 1, 2 }, { "o-1" }, nil, true)))
    for _, broken in ipairs{ "=$1", "=@1", "=1|{", '="', "=x", "=1,", "=@1|{;nil=1}", "=1|{}x" } do
      assert.are.same({ broken }, (decode(broken, {})))
    end
  end)

  it("is left out: the slots say it", function()
    local _, n = decode(nil, {}, nil, false)
    assert.are.equal(1, n)
    assert.are.same({ "o-1" }, (decode(nil, { "o-1" })))
    assert.are.same({ { "o-1", "o-2" } }, (decode(nil, { "o-1", "o-2" })))
    assert.are.same({ "o-1", "o-2" }, (decode(nil, { "o-1", "o-2" }, nil, true)))
  end)

  it("is told from one object alone", function()
    assert.are.equal("o-1", marshal.reference{ slots = { "o-1" } })
    assert.are.equal("o-1", marshal.reference{ data = "=$1", slots = { "o-1" } })
    assert.is_nil(marshal.reference{ data = "=@1|{$1}", slots = { "o-1" } })
    assert.is_nil(marshal.reference{ slots = { "o-1", "o-2" } })
    assert.is_nil(marshal.reference{ slots = {} })
  end)
end)
