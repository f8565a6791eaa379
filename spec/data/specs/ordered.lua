-- Prints the order in which its tests run.
for i = 1, 9 do
  describe("block " .. i, function()
    it("test", function() print("ran " .. i) end)
  end)
end
