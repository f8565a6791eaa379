-- JSON: what is written is read back, equal values give equal text, and errors name the place.

local json = require "lethe.json"

describe("json", function()
  it("writes members in the order of their bytes", function()
    assert.are.equal('{"B":2,"a":1,"b":[],"c":{}}',
      json.encode{ b = json.array{}, a = 1, B = 2, c = {} })
    assert.are.equal("[1,2,[3]]", json.encode{ 1, 2, { 3 } })
  end)

  it("writes numbers so that they come back", function()
    local numbers = { 0, -1, math.maxinteger, math.mininteger, 0.1, 1 / 3, 1e300, 5e-324, 2.0 }
    for _, n in ipairs(numbers) do
      local back = json.decode(json.encode(n))
      assert.are.equal(n, back)
      assert.are.equal(math.type(n), math.type(back))
    end
    assert.are.equal("[null,null,null]", json.encode{ 0 / 0, 1 / 0, -1 / 0 })
  end)

  it("escapes what JSON has to, and nothing else", function()
    assert.are.equal([["\"\\/\n\t\u0000\u001f\u007f\195\164"]], (json.encode('"\\/\n\t\0\31\127ä')
      :gsub("ä", "\\195\\164")))
    local bytes = {}
    for i = 0, 127 do
      bytes[#bytes + 1] = string.char(i)
    end
    local text = table.concat(bytes) .. "ä€😀"
    assert.are.equal(text, json.decode(json.encode(text)))
  end)

  it("reads escapes, surrogate pairs too", function()
    assert.are.equal("A/\b\f😀é", json.decode [["\u0041\/\b\f\ud83d\ude00\u00e9"]])
  end)

  it("reads white space, words and nesting", function()
    local value = json.decode ' \n{ "a" : [ 1 , true , false , null , -1.5e+2 ] , "b" : { } } \t'
    assert.are.equal(1, value.a[1])
    assert.are.equal(json.null, value.a[4])
    assert.are.equal(-150.0, value.a[5])
    assert.are.equal('{"a":[1,true,false,null,-150.0],"b":{}}', json.encode(value))
    assert.are.equal("[]", json.encode(json.decode "[]"))
  end)

  it("names the line and the column of what is wrong", function()
    local cases = {
      [""] = "column 1: a value expected", ["[1,"] = "column 4: a value expected",
      ["[1 2]"] = 'column 4: "," or "]" expected', ['{"a" 1}'] = 'column 6: ":" expected',
      ["{1:2}"] = "column 2: a member's name expected", ['"abc'] = "column 1: a string that does",
      ['"\\x"'] = "column 2: no such escape", ["01"] = "column 1: a value expected",
      ["[] x"] = "column 4: the end expected", ["nul"] = "column 1: a value expected",
      ["\n\n [1,}"] = "line 3, column 5: a value expected", ['"a\nb"'] = "column 3: a control",
      [("["):rep(300)] = "too deep", ["1."] = "column 2: the end expected",
      ["-"] = "a value expected",
    }
    for text, message in pairs(cases) do
      local value, why = json.decode(text)
      assert.is_nil(value)
      assert.is_truthy(why:find(message, 1, true), text .. ": " .. why)
    end
  end)

  it("writes members in an order that is asked for", function()
    assert.are.equal('{"z":1,"a":2,"b":[{"z":3,"y":4}]}',
      json.encode({ a = 2, b = { { y = 4, z = 3 } }, z = 1 }, { "z", "none" }))
  end)

  it("reads lines, and names the one that is none", function()
    assert.are.equal('[1,{"a":2}]', json.encode(json.decode_lines('1\n\n {"a":2} \n')))
    local list, message, line = json.decode_lines("1\n[\n")
    assert.are.same({ nil, "JSON line 1, column 2: a value expected", 2 }, { list, message, line })
  end)

  it("refuses what JSON cannot say", function()
    local circle = {}
    circle.circle = circle
    assert.error_matches(function() json.encode(print) end, "a function cannot be written")
    assert.error_matches(function() json.encode{ [true] = 1 } end, "strings as keys, not true")
    assert.error_matches(function() json.encode(circle) end, "too deep, or in a circle")
    assert.error_matches(function() json.decode(1) end, "string expected, got number")
  end)
end)
