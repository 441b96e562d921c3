"""A post with comments and replies, whose authors are named."""

THREAD = {
    "id": 17,
    "title": "周末去哪",
    "text": "求推荐\n不要太远",
    "author": "小李",
    "comments": [
        {
            "text": "湖边 @小李 走起",
            "author": "momo",
            "likes": 3,
            "replies": [{"text": "远吗？", "author": "小李"}, {"text": "@momo 一起", "author": "阿强", "likes": 9}],
        },
        "一句没有作者的评论",
        {"text": "两行\n评论", "author": "阿强", "likes": 1},
    ],
}
