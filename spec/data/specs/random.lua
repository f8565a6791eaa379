-- Prints what math.random gives.
describe("random", function()
  it("a", function() print("number " .. math.random(1 << 40)) end)
  it("b", function() print("number " .. math.random(1 << 40)) end)
end)
