-- The rule that every server of the comparison runs: scores an order and says what to do with it.
--
-- In:  { user_id, amount, country, items = { { sku, qty, price }, … } }
-- Out: { user_id, decision, score, total, reasons }
--
-- Written in Lua 5.1, which all engines here understand, so that they run this very text.

local function decide(score)
    if score >= 70 then
        return "deny"
    elseif score >= 30 then
        return "review"
    end
    return "allow"
end

return function(order)
    local amount, country = order.amount, order.country
    local score, reasons = 0, {}

    if amount > 10000 then
        score = score + 50
        reasons[#reasons + 1] = "huge_amount"
    elseif amount > 1000 then
        score = score + 20
        reasons[#reasons + 1] = "large_amount"
    end

    if country == "KP" or country == "NG" then
        score = score + 40
        reasons[#reasons + 1] = "country"
    elseif country ~= "GB" and country ~= "US" then
        score = score + 10
    end

    local total, quantity = 0, 0
    for index = 1, #order.items do
        local item = order.items[index]
        total = total + item.qty * item.price
        quantity = quantity + item.qty
        if item.price > 500 then
            score = score + 5
        end
    end
    if total > amount * 1.5 then
        score = score + 15
        reasons[#reasons + 1] = "items_exceed_amount"
    end
    if quantity > 20 then
        score = score + 5
        reasons[#reasons + 1] = "bulk"
    end

    return { user_id = order.user_id, decision = decide(score), score = score, total = total, reasons = reasons }
end
