"""A text to compare models on where the user gives none: a few hundred tokens, in the languages of our users."""

SAMPLE_TEXT = """\
The ferry to the island leaves at nine, and the last one back goes at half past six. Bring a jacket, because it is
windy on deck even in July. We rented two bicycles next to the harbour, rode to the lighthouse, and had soup in a
kitchen that seats eight people. The owner told us that her grandmother opened it in 1952, that the recipe has not
changed since, and that she closes whenever the pot is empty. If you go on a weekday you will have the beach almost
to yourself.

周末去了湖边的小店，点了两碗面，汤头很鲜，老板还送了一碟小菜。店不大，只有六张桌子，排队大概二十分钟。
隔壁是一家卖手工茶杯的铺子，每一只的花纹都不一样，价格从三十到两百元。傍晚沿着湖走了一圈，风很舒服，
有人在弹吉他，小朋友追着泡泡跑。回来的路上下了一点小雨，幸好带了伞。下次还想带爸妈一起来，
他们应该会喜欢这里的安静。如果你也打算去，建议早上十点以前到，停车比较方便。

How to repot a plant: choose a pot that is two fingers wider than the old one, put a layer of gravel at the bottom,
and loosen the roots with your hands. Fill the gaps with fresh soil, press it gently, and water until it runs out
below. Keep the plant out of direct sun for a week. A common mistake is to take a pot that is far too large: the soil
then stays wet for days, and the roots begin to rot.

def area(width, height):
    \"\"\"The area of a rectangle.\"\"\"
    if width < 0 or height < 0:
        raise ValueError("a side cannot be negative")
    return width * height

Question: a train covers 180 kilometres in two hours and a quarter. What is its average speed? Answer: two hours and
a quarter are 2.25 hours, and 180 divided by 2.25 is 80, so the train runs at 80 kilometres per hour on average.

今天的菜谱：番茄炒蛋。先把三个鸡蛋打散，加一点盐；番茄切块备用。锅里放油，烧热以后倒入蛋液，凝固就盛出来。
再放一点油，下番茄，炒出汁以后加半勺糖，把鸡蛋倒回去翻炒均匀，撒上葱花就可以出锅了。整个过程不到十分钟。
"""
